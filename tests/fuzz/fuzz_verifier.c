/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bodies of requests to the verifier. First whether identity documents are demanded
 * (1 byte) and the time (8 bytes, big-endian, ms), then the body; the
 * nonce's key is zeros, and the root is the one that the document brings along. */
#include "verifier/judge.h"

#include <string.h>

#include "fuzz.h"

static const struct material *material_with(struct bytes root, enum identity_demand identity)
{
    static uint8_t challenge_key[CHALLENGE_KEY_SIZE];
    static struct material material = {
        .settings = {.issuer = (char *)"https://v",
                     .audience = (char *)"a",
                     .region_certificates = (char *)"tests/fuzz/keys",
                     .challenge_lifetime = 60,
                     .max_age = 120,
                     .token_lifetime = 300},
        .golden = {.fence_pcr = 15,
                   .count = 3,
                   .item = {{"old", "1", STATE_BOOT, {.bank = HASH_SHA384}},
                            {"up", "1", STATE_RUNNING, {.bank = HASH_SHA384}},
                            {"web", "2", STATE_BOOT, {.bank = HASH_SHA384}}}},
        .challenge = {.count = 1},
        .signing_keys = 1,
    };

    for (size_t i = 0; i < material.golden.count; i++)
        material.golden.item[i].values.mask = PCR_BIT(4) | PCR_BIT(12);
    material.settings.identity = identity;
    material.golden.item[0].values.value[4].bytes[0] = 1;
    material.challenge.key[0] = (struct secret){challenge_key, CHALLENGE_KEY_SIZE, 0};
    material.signing_key[0] = fuzz_leaf_key();
    material.root = (struct buffer){(uint8_t *)root.data, root.len};
    return &material;
}

/* Of the document in the body, if there is one. */
static struct buffer root_of(struct bytes body)
{
    MU_CLEANUP(json_free) json_object *object = NULL;
    MU_CLEANUP(buffer_free) struct buffer raw = {0};
    MU_CLEANUP(document_free) struct document document = {0};
    struct mu_error err = {0};
    const char *text = NULL;

    if (json_parse(body, "body", MU_REFUSE, &object, &err) == MU_OK &&
        json_string(object, "document", JUDGE_BODY_MAX, MU_REFUSE, &text, &err) == MU_OK &&
        base64_decode(text, JUDGE_BODY_MAX, &raw, &err) == MU_OK &&
        document_parse(buffer_view(&raw), &document, &err) == MU_OK)
        return fuzz_own_root(&document);
    return (struct buffer){0};
}

static void check(const struct judgement *judgement)
{
    json_object *token = NULL;

    fuzz_require(judgement->answer != NULL, "there is an answer");
    (void)json_object_object_get_ex(judgement->answer, "token", &token);
    fuzz_require((judgement->status == 200) == (judgement->error == NULL), "an error or none");
    fuzz_require(judgement->status == 200 || judgement->why.text[0] != '\0', "a reason");
    fuzz_require(judgement->status < 500, "nothing is this side's fault");
    fuzz_require(token == NULL || (judgement->status == 200 && judgement->matches &&
                                   judgement->genuine && judgement->instance_id[0] != '\0'),
                 "a token only for who matches");
    fuzz_require(!judgement->matches || judgement->golden != NULL, "what matched is known");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of((struct bytes){data, size});
    enum identity_demand identity = reader_u8(&r) % 3;
    uint64_t now_ms = reader_be64(&r);
    struct bytes body = reader_take(&r, reader_left(&r));
    MU_CLEANUP(buffer_free) struct buffer root = root_of(body);
    MU_CLEANUP(judgement_free) struct judgement attested = {0};
    MU_CLEANUP(judgement_free) struct judgement challenged = {0};
    const struct material *material = material_with(buffer_view(&root), identity);

    if (body.len > JUDGE_BODY_MAX || now_ms > INT64_MAX / 2)
        return 0;
    judge_attest(material, body, now_ms, &attested);
    check(&attested);
    judge_challenge(material, body, now_ms, &challenged);
    fuzz_require(challenged.answer != NULL && challenged.status <= 400, "a nonce or a reason");
    return 0;
}
