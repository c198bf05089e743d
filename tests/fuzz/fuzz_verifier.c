/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bodies of requests to the verifier. First a byte: bits 0 to 6 say whether identity documents
 * are demanded, bit 7 that only one account is served. Then the time (8 bytes, big-endian, ms), and
 * the body; the nonce's key is zeros, and the root is the one that the document brings along. */
#include "verifier/appraise.h"

#include <string.h>

#include "fuzz.h"

static const struct verifier *verifier_with(struct bytes root, enum identity_demand identity,
                                            bool limited)
{
    static uint8_t challenge_key[CHALLENGE_KEY_SIZE];
    static const struct audience_settings audiences[] = {
        {.name = (char *)"a", .token_lifetime = 300},
        {.name = (char *)"b",
         .value = (char *)"https://b",
         .profile = PROFILE_EAR,
         .encryption = NOT_ENCRYPTED,
         .token_lifetime = 10,
         .tokens_per_minute = 1000000}};
    static struct verifier verifier = {
        .settings = {.issuer = (char *)"https://v",
                     .region_certificates = (char *)"tests/fuzz/keys",
                     .challenge_lifetime = 60,
                     .max_age = 120},
        .reference = {.fence_pcr = 15,
                      .count = 3,
                      .item = {{.name = "old", .version = "1", .state = STATE_BOOT},
                               {.name = "up", .version = "1", .state = STATE_RUNNING},
                               {.name = "web", .version = "2", .state = STATE_BOOT}}},
        .challenge = {.count = 1},
        .signing_keys = 1,
    };

    for (size_t i = 0; i < verifier.reference.count; i++)
        verifier.reference.item[i].values =
            (struct pcr_values){.bank = HASH_SHA384, .mask = PCR_BIT(4) | PCR_BIT(12)};
    verifier.settings.identity = identity;
    verifier.settings.accounts = limited ? (char *)"444455556666, 111122223333" : NULL;
    verifier.reference.item[0].values.value[4].bytes[0] = 1;
    verifier.challenge.key[0] = (struct secret){challenge_key, CHALLENGE_KEY_SIZE, 0};
    verifier.signing_key[0] = fuzz_leaf_key();
    verifier.audiences.count = 2;
    for (size_t i = 0; i < verifier.audiences.count; i++)
        verifier.audiences.item[i] = (struct audience){&audiences[i], verifier.signing_key[0]};
    verifier.root = (struct buffer){(uint8_t *)root.data, root.len};
    return &verifier;
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
        json_string(object, "document", APPRAISE_BODY_MAX, MU_REFUSE, &text, &err) == MU_OK &&
        base64_decode(text, APPRAISE_BODY_MAX, MU_CONFIG, &raw, &err) == MU_OK &&
        document_parse(buffer_view(&raw), &document, &err) == MU_OK)
        return fuzz_own_root(&document);
    return (struct buffer){0};
}

static struct limiter tokens = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void check(const struct appraisal *appraisal)
{
    json_object *token = NULL;

    fuzz_require(appraisal->answer != NULL, "there is an answer");
    (void)json_object_object_get_ex(appraisal->answer, "token", &token);
    fuzz_require((appraisal->status == 200) == (appraisal->error == NULL), "an error or none");
    fuzz_require(appraisal->status == 200 || appraisal->why.text[0] != '\0', "a reason");
    fuzz_require(appraisal->status < 500, "nothing is this side's fault");
    fuzz_require(token == NULL || (appraisal->status == 200 && appraisal->matches &&
                                   appraisal->genuine && appraisal->instance_id[0] != '\0'),
                 "a token only for who matches");
    fuzz_require(!appraisal->matches || appraisal->reference != NULL, "what matched is known");
}

/* Approved images, of which one ends and two were revoked; what a document shows is three bits of
 * it. */
static void match_images(unsigned shown, uint64_t now_ms)
{
    static const char revoked[] = "was revoked", name[] = "web";
    struct reference_value items[] = {
        {.name = name,
         .version = "1",
         .image = "a",
         .until_ms = 1000,
         .ends = name,
         .ends_version = "1"},
        {.name = name, .version = "2", .withdrawn = revoked, .ends = name, .ends_version = "2"},
        {.name = name, .version = "3", .withdrawn = revoked, .ends = "boot", .ends_version = "1"},
        {.name = name, .version = "4", .state = STATE_RUNNING, .boot_loader = "b"},
    };
    static const struct reference_values none = {.fence_pcr = 15};
    const struct reference_list list = {items, MU_COUNT(items)};
    struct pcr_values found = {.bank = HASH_SHA384, .mask = UINT32_MAX};
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();
    const struct reference_value *matched = NULL;
    struct mu_error err = {0};
    enum mu_status status;

    for (size_t i = 0; i < MU_COUNT(items); i++) {
        items[i].values =
            (struct pcr_values){.bank = HASH_SHA384, .mask = PCR_BIT(4) | PCR_BIT(12)};
        items[i].values.value[4].bytes[0] = (uint8_t)i;
    }
    found.value[4].bytes[0] = shown & 3;
    found.value[15].bytes[0] = (shown & 4) != 0;
    status = reference_values_match(&none, &list, &found, now_ms, &matched, &err);
    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    fuzz_require(matched != NULL, "something is named");
    fuzz_require((status == MU_OK) == ((shown == 0 && now_ms < 1000) || shown == 7),
                 "what may run matches");
    fuzz_require(status != MU_OK || reference_add_images(object, matched), "and is named");
    fuzz_require(reference_values_match(&none, NULL, &found, now_ms, &matched, &err) == MU_CONFIG,
                 "nothing matches nothing");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of((struct bytes){data, size});
    uint8_t which = reader_u8(&r);
    enum identity_demand identity = (which & 0x7f) % 3;
    uint64_t now_ms = reader_be64(&r);
    struct bytes body = reader_take(&r, reader_left(&r));
    MU_CLEANUP(buffer_free) struct buffer root = root_of(body);
    MU_CLEANUP(appraisal_free) struct appraisal attested = {0};
    MU_CLEANUP(appraisal_free) struct appraisal challenged = {0};
    const struct verifier *verifier =
        verifier_with(buffer_view(&root), identity, (which & 0x80) != 0);

    if (body.len > APPRAISE_BODY_MAX || now_ms > INT64_MAX / 2)
        return 0;
    for (unsigned shown = 0; shown < 8; shown++)
        match_images(shown, now_ms % 2000);
    appraise_attest(verifier, &tokens, body, now_ms, &attested);
    check(&attested);
    appraise_challenge(verifier, body, now_ms, &challenged);
    fuzz_require(challenged.answer != NULL && challenged.status <= 400, "a nonce or a reason");
    return 0;
}
