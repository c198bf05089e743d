/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attestation documents, parsed and verified: against the root they bring along (so that their own
 * documents pass), and against AWS's. The mutator signs what it made with the corpus's leaf key. */
#include "appraise/verify.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/pem.h>

#include "appraise/root.h"
#include "fuzz.h"

#define SIGNATURE 96
#define HALF (SIGNATURE / 2)

/* What is known of the certificates of earlier inputs changes no verdict and no word of it. */
static void verify_by_what_is_known(struct bytes raw, const struct verify_policy *policy,
                                    enum mu_status expected, const struct mu_error *words)
{
    static struct chain_cache *cache;
    struct verify_policy with_cache = *policy;

    if (cache == NULL)
        fuzz_require(chain_cache_new(&cache, &(struct mu_error){0}) == MU_OK, "a cache");
    with_cache.cache = cache;
    for (int i = 0; i < 2; i++) {
        MU_CLEANUP(document_free) struct document document = {0};
        struct verify_report report = {0};
        struct mu_error err = {0};

        fuzz_require(verify_bytes(raw, &with_cache, &document, &report, &err) == expected &&
                         strcmp(err.text, words->text) == 0,
                     "a cache changes nothing");
    }
}

static void verify(struct bytes raw, const struct verify_policy *policy)
{
    MU_CLEANUP(document_free) struct document document = {0};
    struct verify_report report = {0};
    struct mu_error err = {0};
    enum mu_status status = verify_bytes(raw, policy, &document, &report, &err);

    verify_by_what_is_known(raw, policy, status, &err);
    fuzz_outcome(status, &err, 1u << MU_REFUSE | 1u << MU_CONFIG);
    if (status == MU_CONFIG)
        return;
    fuzz_require(report.ok == (status == MU_OK), "the report says the same");
    for (size_t i = 0; i < VERIFY_CHECKS; i++) {
        fuzz_require(report.check[i].name != NULL, "each check is in the report");
        fuzz_require(!report.ok || report.check[i].result != VERIFY_FAILED, "no check failed");
        fuzz_require(!report.ok || !policy->require_all || i >= CHECK_IDENTITY_SIGNATURE ||
                         report.check[i].result == VERIFY_OK,
                     "each check was done");
    }
    fuzz_require(!report.ok || policy->root.data != NULL, "nobody here signs as AWS");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char json[] = "{\"instanceId\":\"i-0123456789abcdef0\",\"region\":\"eu-west-1\","
                               "\"accountId\":\"111122223333\",\"instanceType\":\"t\","
                               "\"imageId\":\"a\",\"pendingTime\":\"p\"}";
    static const struct identity_evidence who = {
        .document = {(const uint8_t *)json, sizeof(json) - 1},
        .signature = {(const uint8_t *)"AAAA", 4},
        .certificates_name = "none"};
    static const struct pcr_values baseline = {.bank = HASH_SHA384,
                                               .mask = PCR_BIT(4) | PCR_BIT(12)};
    MU_CLEANUP(document_free) struct document document = {0};
    MU_CLEANUP(buffer_free) struct buffer root = {0};
    struct verify_policy policy = {.at_own_time = true, .max_age_s = 60, .baseline = &baseline};
    struct bytes raw = {data, size};
    struct mu_error err = {0};
    enum mu_status status = document_parse(raw, &document, &err);

    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    if (status == MU_OK) {
        root = fuzz_own_root(&document);
        policy.root = buffer_view(&root);
        policy.require_all = document.nonce.len % 2 == 0;
        policy.nonce = document.nonce;
    }
    if (root.data != NULL)
        verify(raw, &policy);
    policy = (struct verify_policy){.at_ms = 1770000000000, .max_age_s = 300, .identity = &who};
    policy.nonce = (struct bytes){(const uint8_t *)"other", 5};
    policy.at_ms -= document.timestamp_ms % 3 * 1000;
    verify(raw, &policy);
    return 0;
}

/* RFC 9053, 2.1 */
static void sign(struct bytes message, uint8_t to[static SIGNATURE])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t der[128];
    size_t len = sizeof(der);
    const uint8_t *pos = der;
    ECDSA_SIG *signature;

    fuzz_require(EVP_DigestSignInit(md, NULL, EVP_sha384(), NULL, fuzz_leaf_key()) == 1 &&
                     EVP_DigestSign(md, der, &len, message.data, message.len) == 1,
                 "a signature");
    signature = d2i_ECDSA_SIG(NULL, &pos, (long)len);
    fuzz_require(BN_bn2binpad(ECDSA_SIG_get0_r(signature), to, HALF) == HALF &&
                     BN_bn2binpad(ECDSA_SIG_get0_s(signature), to + HALF, HALF) == HALF,
                 "r and s");
    ECDSA_SIG_free(signature);
    EVP_MD_CTX_free(md);
}

/* RFC 9052, 4.2 and 4.4; 0 if it does not fit. */
static size_t encode(struct bytes payload, uint8_t *to, size_t max)
{
    static const uint8_t head[] = {0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0, 0x59};
    static const uint8_t context[] = {0x84, 0x6a, 'S',  'i',  'g',  'n',  'a',  't',  'u', 'r',
                                      'e',  '1',  0x44, 0xa1, 0x01, 0x38, 0x22, 0x40, 0x59};
    static uint8_t message[sizeof(context) + 2 + DOCUMENT_MAX_BYTES];
    struct writer m = writer_into(message, sizeof(message));
    struct writer w = writer_into(to, max);
    uint8_t signature[SIGNATURE];

    writer_bytes(&m, (struct bytes){context, sizeof(context)});
    writer_be16(&m, (uint16_t)payload.len);
    writer_bytes(&m, payload);
    if (m.failed)
        return 0;
    sign((struct bytes){message, m.len}, signature);
    writer_bytes(&w, (struct bytes){head, sizeof(head)});
    writer_be16(&w, (uint16_t)payload.len);
    writer_bytes(&w, payload);
    writer_be16(&w, 0x5860);
    writer_bytes(&w, (struct bytes){signature, sizeof(signature)});
    return w.failed ? 0 : w.len;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    MU_CLEANUP(document_free) struct document document = {0};
    static uint8_t payload[DOCUMENT_MAX_BYTES];
    struct mu_error err = {0};
    size_t len, made;

    if (seed % 4 == 0 || document_parse((struct bytes){data, size}, &document, &err) != MU_OK ||
        document.payload.len < 256)
        return LLVMFuzzerMutate(data, size, max);
    len = document.payload.len;
    memcpy(payload, document.payload.data, len);
    len = LLVMFuzzerMutate(payload, len, sizeof(payload));
    made = len < 256 ? 0 : encode((struct bytes){payload, len}, data, max);
    return made != 0 ? made : size;
}
