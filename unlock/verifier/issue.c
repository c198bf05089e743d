/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/issue.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "appraise/jws.h"
#include "base/openssl.h"
#include "measure/baseline.h"

#define ID_SIZE 16

static bool add_time(json_object *object, const char *name, uint64_t ms)
{
    return json_add(object, name, json_object_new_int64((int64_t)(ms / 1000)));
}

/* The instance's identity, if it was asked for and is valid. */
static bool add_identity(json_object *claims, const struct verify_report *report)
{
    const struct identity_facts *facts = &report->identity;

    return report->check[CHECK_IDENTITY_INSTANCE].result != VERIFY_OK ||
           (json_add_text(claims, "account", facts->account) &&
            json_add_text(claims, "region", facts->region) &&
            json_add_text(claims, "instance_type", facts->instance_type) &&
            json_add_text(claims, "image_id", facts->image_id));
}

static enum mu_status add_id(json_object *claims, struct mu_error *err)
{
    uint8_t random[ID_SIZE];
    char hex[2 * ID_SIZE + 1];

    if (RAND_bytes(random, sizeof(random)) != 1)
        return mu_fail(err, MU_INTERNAL, "no random numbers");
    hex_encode((struct bytes){random, sizeof(random)}, hex);
    return json_add_text(claims, "jti", hex) ? MU_OK : mu_oom(err);
}

static enum mu_status make_claims(const struct settings *settings, const struct finding *finding,
                                  json_object *claims, struct mu_error *err)
{
    const struct reference_value *reference = finding->reference;
    struct pcr_values pcrs;
    uint64_t until = finding->at_ms + 1000 * (uint64_t)settings->token_lifetime;

    MU_TRY(add_id(claims, err));
    verify_pcrs(finding->document, &pcrs);
    if (!json_add_text(claims, "iss", settings->issuer) ||
        !json_add_text(claims, "aud", settings->audience) ||
        !json_add_text(claims, "sub", finding->report->instance_id) ||
        !add_time(claims, "iat", finding->at_ms) || !add_time(claims, "nbf", finding->at_ms) ||
        !add_time(claims, "exp", until) || !json_add_text(claims, "baseline", reference->name) ||
        !json_add_text(claims, "baseline_version", reference->version) ||
        !json_add_text(claims, "state", reference_state_name(reference->state)) ||
        !reference_add_images(claims, reference) || !baseline_add_values(claims, "pcr", &pcrs) ||
        !add_identity(claims, finding->report))
        return mu_oom(err);
    return MU_OK;
}

static enum mu_status read_key(struct bytes der, EVP_PKEY **ret, struct mu_error *err)
{
    const uint8_t *pos = der.data;
    MU_CLEANUP(key_free) EVP_PKEY *key = d2i_PUBKEY(NULL, &pos, (long)der.len);

    if (key == NULL || pos != der.data + der.len)
        return mu_fail(err, MU_REFUSE,
                       "the document's public key is not a SubjectPublicKeyInfo in DER");
    *ret = MU_TAKE(key);
    return MU_OK;
}

enum mu_status issue_token(const struct verifier *verifier, const struct finding *finding,
                           char **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *claims = json_object_new_object();
    MU_CLEANUP(key_free) EVP_PKEY *to = NULL;
    MU_CLEANUP(string_free) char *inner = NULL;

    MU_TRY(read_key(finding->document->public_key, &to, err));
    MU_TRY(make_claims(&verifier->settings, finding, claims, err));
    MU_TRY(token_sign(verifier->signing_key[0], claims, &inner, err));
    return token_encrypt(inner, to, ret, err);
}
