/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a record says of Vault, and the answers of a verifier and of Vault. First byte: which. For a
 * record its JSON follows, else answers, see answers.h. */
#include <string.h>

#include "answers.h"
#include "fuzz.h"
#include "release/vault.h"
#include "release/vault_client.h"
#include "release/verifier_client.h"

#define KEY_SIZE 32

enum asked { RECORD, CHALLENGE, ATTEST, LOGIN, KV, KV_WRAPPED, TRANSIT, ASKED };

static enum mu_status parse(struct bytes text, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *data = NULL;
    struct vault_record r;

    MU_TRY(json_parse(text, "record", MU_REFUSE, &data, err));
    MU_TRY(vault_parse_record(data, &r, err));
    fuzz_require(service_address_ok(r.verifier) && service_address_ok(r.address), "addresses");
    fuzz_require(vault_path_ok(r.auth_mount) && vault_path_ok(r.role) && vault_path_ok(r.mount),
                 "paths");
    fuzz_require(r.kv ? vault_path_ok(r.path) && r.field != NULL && r.key == NULL
                      : vault_path_ok(r.key) && r.ciphertext != NULL && r.path == NULL,
                 "one of both");
    return MU_OK;
}

static enum mu_status ask_verifier(struct service *verifier, enum asked which, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer nonce = {0};
    MU_CLEANUP(json_free) json_object *answer = NULL;
    const char *token = NULL;
    int64_t seconds = 0;
    bool stale = false, wanted = false;
    enum mu_status status;

    if (which == CHALLENGE) {
        status = verifier_challenge(verifier, &nonce, &seconds, &wanted, err);
        fuzz_require((status == MU_OK) == (nonce.data != NULL), "a nonce or none");
    } else {
        static const struct verifier_evidence evidence = {
            {(const uint8_t *)"document", 8}, {(const uint8_t *)"identity", 8}, "an audience"};

        status = verifier_attest(verifier, &evidence, &answer, &stale, err);
        if (status == MU_OK)
            status = verifier_token(answer, &token, &seconds, err);
        fuzz_require((status == MU_OK) == (token != NULL), "a token or none");
        fuzz_require(!stale || status == MU_RETRY, "a stale nonce is replaced");
    }
    fuzz_require(status != MU_OK || seconds > 0, "it lasts");
    return status;
}

static enum mu_status log_in(struct service *vault, struct mu_error *err)
{
    static uint8_t text[] = "eyJ.eyJ.sig";
    const struct secret jwt = {text, sizeof(text) - 1, 0};
    MU_CLEANUP(secret_free) struct secret token = {0};
    enum mu_status status = vault_login(vault, "ns", "jwt", "role", &jwt, &token, err);

    fuzz_require(status != MU_OK || http_token_ok(secret_view(&token), 1, VAULT_TOKEN_MAX),
                 "a token fit for a header");
    return status;
}

static enum mu_status read_key(struct service *vault, enum asked which, struct mu_error *err)
{
    MU_CLEANUP(json_wipe) json_object *answer = NULL;
    MU_CLEANUP(secret_free) struct secret key = {0};
    struct vault_request request = {
        .method = which == TRANSIT ? "POST" : "GET",
        .path = which == TRANSIT ? "transit/decrypt/k" : "secret/data/k",
        .version = which == KV ? 3 : 0,
        .token = {(const uint8_t *)"hvs.x", 5},
        .wrap_ttl = which == KV_WRAPPED ? 60 : 0,
    };

    if (which == TRANSIT)
        request.body = (struct bytes){(const uint8_t *)"{}", 2};
    MU_TRY(vault_call_wrapped(vault, &request, &answer, err));
    MU_TRY(vault_key(answer, which != TRANSIT, which == TRANSIT ? "plaintext" : "key", KEY_SIZE,
                     &key, err));
    fuzz_require(key.len == KEY_SIZE, "a whole key");
    fuzz_require(which != KV_WRAPPED || answers_requests() == 3, "looked up, and unwrapped");
    return MU_OK;
}

static enum mu_status ask(enum asked which, struct mu_error *err)
{
    MU_CLEANUP(service_close) struct service *service = NULL;

    MU_TRY(service_open("test", "https://vault.example", "/nonexistent", deadline_in(60), &service,
                        err));
    if (which == CHALLENGE || which == ATTEST)
        return ask_verifier(service, which, err);
    return which == LOGIN ? log_in(service, err) : read_key(service, which, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of((struct bytes){data, size});
    enum asked which = reader_u8(&r) % ASKED;
    struct mu_error err = {0};
    enum mu_status status;

    if (which == RECORD) {
        status = parse(reader_take(&r, reader_left(&r)), &err);
        fuzz_outcome(status, &err, 1u << MU_REFUSE);
        return 0;
    }
    answers_begin(&r);
    status = ask(which, &err);
    fuzz_outcome(status, &err, 1u << MU_REFUSE | 1u << MU_RETRY | 1u << MU_CONFIG);
    fuzz_require(status != MU_OK || answers_requests() > 0, "nothing comes from nowhere");
    return 0;
}
