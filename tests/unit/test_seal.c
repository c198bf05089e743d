/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <tss2/tss2_tpm2_types.h>

#include "fake_tcti.h"
#include "release/tpm2.h"
#include "test.h"
#include "tpm/internal.h"

/* What a TPM and tpm2-tools 5.4 make of the same: tpm2_createpolicy --policy-pcr (sha384:4,12,15
 * and sha256:4), tpm2_policyor, tpm2_loadexternal -a 'userwithauth|decrypt|sign',
 * tpm2_policyauthorize.
 */
#define PCR4_SHA384                                                                                \
    "7bb2c5d8ea033e351e3bbcd999104ba4a95c440e7930e17becc2effd55069425"                             \
    "f50dd6852cfd3b664453b66c6cb673ea"
#define PCR4_SHA256 "86bfbce7f88e77dab6bbfb923bb70e2411d374dc658db751c9bdec438f5cce54"
#define STATE_SHA384 "059ef9f831dee51d6fc23830a4ebe292d07a9d5db2f7390ae4beeedd3bf80209"
#define STATE_SHA256 "aba4b188142e3e4296b428fb51778a531d6ffe1cfc5e496a6d610cf73d63d466"
#define EITHER "8b548c83d90542dfb052e859f27ecfa807d38716d7e1e7def3f8b0fc9dbd60ab"
#define AUTHORITY                                                                                  \
    "00560023000b00060040000000100010000300100020492c4f776136d873eed015b09ac91f884d2e1696b3a64b19" \
    "c381a0bbef4b7e48002053883341cd8dfc309f2399e0e7686161dc5f74076ba48a4faf1a51534969de63"
#define AUTHORIZED "d90c90996f32852eaeaa1ad3dac5992b0643b157e793ab46b518cad95b14e2a1"
#define PUBLIC_PEM                                                                                 \
    "-----BEGIN PUBLIC KEY-----\n"                                                                 \
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAESSxPd2E22HPu0BWwmskfiE0uFpaz\n"                           \
    "pksZw4Ggu+9LfkhTiDNBzY38MJ8jmeDnaGFh3F90B2ukik+vGlFTSWneYw==\n"                               \
    "-----END PUBLIC KEY-----\n"

static void add(struct seal_policy *policy, enum hash_alg bank, uint32_t mask, const char *pcr4)
{
    struct pcr_values *state = &policy->state[policy->states++];

    *state = (struct pcr_values){.bank = bank, .mask = mask};
    assert_true(hex_decode(pcr4, state->value[4].bytes, hash_size(bank)));
}

static struct seal_policy two_states(void)
{
    struct seal_policy policy = {0};

    add(&policy, HASH_SHA384, PCR_BIT(4) | PCR_BIT(12) | PCR_BIT(15), PCR4_SHA384);
    add(&policy, HASH_SHA256, PCR_BIT(4), PCR4_SHA256);
    return policy;
}

static void assert_hex(struct bytes bytes, const char *expected)
{
    char text[513];

    assert_true(bytes.len <= 256);
    hex_encode(bytes, text);
    assert_string_equal(text, expected);
}

static void assert_digest(const struct digest *digest, const char *expected)
{
    assert_hex((struct bytes){digest->bytes, 32}, expected);
}

TEST(test_digests)
{
    struct seal_policy policy = two_states();
    struct digest digest;

    assert_int_equal(seal_state_digest(&policy.state[0], &policy.counter, &digest, &err), MU_OK);
    assert_digest(&digest, STATE_SHA384);
    assert_int_equal(seal_state_digest(&policy.state[1], &policy.counter, &digest, &err), MU_OK);
    assert_digest(&digest, STATE_SHA256);
    assert_int_equal(seal_policy_digest(&policy, &digest, &err), MU_OK);
    assert_digest(&digest, EITHER);
    policy.states = 1;
    assert_int_equal(seal_policy_digest(&policy, &digest, &err), MU_OK);
    assert_digest(&digest, STATE_SHA384);
    policy.states = 0;
    assert_int_equal(seal_policy_digest(&policy, &digest, &err), MU_CONFIG);
    policy.states = SEAL_STATES_MAX + 1;
    assert_int_equal(seal_policy_digest(&policy, &digest, &err), MU_CONFIG);
}

TEST(test_authority)
{
    BIO *pem = BIO_new_mem_buf(PUBLIC_PEM, -1);
    EVP_PKEY *key = PEM_read_bio_PUBKEY(pem, NULL, NULL, NULL);
    struct seal_policy policy = {0};
    struct digest digest;

    assert_int_equal(seal_authorize(&policy, key, &err), MU_OK);
    assert_hex(buffer_view(&policy.authority), AUTHORITY);
    add(&policy, HASH_SHA256, PCR_BIT(4), PCR4_SHA256);
    assert_int_equal(seal_policy_digest(&policy, &digest, &err), MU_OK);
    assert_digest(&digest, AUTHORIZED);
    buffer_free(&policy.authority);
    assert_int_equal(seal_authorize(&policy, key, &err), MU_CONFIG); /* it cannot sign */
    seal_policy_free(&policy);
    EVP_PKEY_free(key);
    BIO_free(pem);
}

/* OpenSSL's own reading of what was signed: r and s behind ECDSA, SHA-256. */
TEST(test_signatures)
{
    static const struct {
        const char *curve;
        uint16_t size;
    } curves[] = {{"P-256", 32}, {"P-384", 48}};

    for (size_t i = 0; i < 2; i++) {
        EVP_PKEY *key = EVP_EC_gen(curves[i].curve);
        struct seal_policy policy = two_states();

        assert_int_equal(seal_authorize(&policy, key, &err), MU_OK);
        for (size_t j = 0; j < 2; j++) {
            struct reader r = reader_of(buffer_view(&policy.signature[j]));
            EVP_MD_CTX *ctx = EVP_MD_CTX_new();
            ECDSA_SIG *parts = ECDSA_SIG_new();
            BIGNUM *number[2];
            uint8_t der[128], *end = der;
            uint8_t approved[32];
            int len;

            assert_int_equal(reader_be16(&r), TPM2_ALG_ECDSA);
            assert_int_equal(reader_be16(&r), TPM2_ALG_SHA256);
            for (size_t k = 0; k < 2; k++) {
                struct bytes half;

                assert_int_equal(reader_be16(&r), curves[i].size);
                half = reader_take(&r, curves[i].size);
                number[k] = BN_bin2bn(half.data, (int)half.len, NULL);
            }
            assert_false(r.failed);
            assert_int_equal(reader_left(&r), 0);
            assert_int_equal(ECDSA_SIG_set0(parts, number[0], number[1]), 1);
            len = i2d_ECDSA_SIG(parts, &end);
            assert_true(hex_decode(j == 0 ? STATE_SHA384 : STATE_SHA256, approved, 32));
            assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
            assert_int_equal(EVP_DigestVerify(ctx, der, (size_t)len, approved, 32), 1);
            ECDSA_SIG_free(parts);
            EVP_MD_CTX_free(ctx);
        }
        seal_policy_free(&policy);
        EVP_PKEY_free(key);
    }
}

TEST(test_keys_that_no_tpm_checks)
{
    EVP_PKEY *keys[] = {EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), EVP_EC_gen("P-521")};

    for (size_t i = 0; i < 2; i++) {
        struct seal_policy policy = two_states();

        assert_int_equal(seal_authorize(&policy, keys[i], &err), MU_CONFIG);
        assert_null(policy.authority.data);
        seal_policy_free(&policy);
        EVP_PKEY_free(keys[i]);
    }
}

/* ---- a TPM that says no ---- */

static const struct {
    uint32_t rc;
    enum mu_status status;
    const char *says;
} answers[] = {
    {TPM2_RC_LOCKOUT, MU_RETRY, "dictionary-attack lockout"},
    {TPM2_RC_BAD_AUTH | TPM2_RC_S | TPM2_RC_1, MU_CONFIG, "owner hierarchy has a password"},
    {TPM2_RC_POLICY_FAIL | TPM2_RC_S | TPM2_RC_1, MU_REFUSE, "the policy does not hold"},
    {TPM2_RC_PCR_CHANGED, MU_REFUSE, "a PCR changed meanwhile"},
    {TPM2_RC_INTEGRITY | TPM2_RC_P | TPM2_RC_1, MU_REFUSE, "before it was cleared"},
    {TPM2_RC_SIGNATURE | TPM2_RC_P | TPM2_RC_2, MU_REFUSE, "signature does not hold"},
    {TPM2_RC_CURVE | TPM2_RC_P | TPM2_RC_1, MU_CONFIG, "use P-256"},
    {TPM2_RC_HIERARCHY | TPM2_RC_1, MU_CONFIG, "hierarchy is disabled"},
    {TPM2_RC_VALUE | TPM2_RC_P | TPM2_RC_1, MU_REFUSE, "storage key"}, /* no meaning of its own */
    {TPM2_RC_FAILURE, MU_CONFIG, "failure mode"},
};

TEST(test_answers)
{
    static const uint8_t part[2];

    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct fake_tpm fake = {0};
        struct seal_policy policy = two_states();
        struct sealed sealed = {0};
        struct secret secret = {0};
        struct tpm *tpm;

        fake_tpm_usual(&fake);
        fake_tpm_fault(&fake,
                       (struct fake_fault){TPM2_CC_CreatePrimary, FAKE_RC, .rc = answers[i].rc});
        tpm = fake_open(&fake);
        assert_int_equal(tpm_unseal(tpm, &sealed, &policy, &secret, &err), answers[i].status);
        if (strstr(err.text, answers[i].says) == NULL)
            fail_msg("case %zu: %s", i, err.text);
        assert_null(secret.data);
        assert_int_equal(tpm_seal(tpm, (struct bytes){part, 1}, &policy, &sealed, &err),
                         answers[i].status);
        assert_null(sealed.public_area.data);
        tpm_close(&tpm);
        assert_int_equal(fake.connections, 0);
    }
}

TEST(test_transport)
{
    static const enum fake_fault_kind kinds[] = {FAKE_TRANSMIT, FAKE_RECEIVE};

    for (size_t i = 0; i < 2; i++) {
        struct fake_tpm fake = {0};
        struct seal_policy policy = two_states();
        struct sealed sealed = {0};
        struct secret secret = {0};
        struct tpm *tpm;

        fake_tpm_usual(&fake);
        fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_CreatePrimary, kinds[i],
                                                  .rc = TSS2_TCTI_RC_IO_ERROR});
        tpm = fake_open(&fake);
        assert_int_equal(tpm_unseal(tpm, &sealed, &policy, &secret, &err), MU_RETRY);
        tpm_close(&tpm);
        assert_int_equal(fake.connections, 0);
    }
}

/* ---- JSON ---- */

#define GOOD "\"public\":\"AAAA\",\"private\":\"AAAA\",\"parent\":\"AAAA\""

static enum mu_status parse(const char *text, size_t baselines, int *ret_fence)
{
    MU_CLEANUP(json_free) json_object *data = json_tokener_parse(text);
    MU_CLEANUP(sealed_free) struct sealed sealed = {0};
    MU_CLEANUP(seal_policy_free) struct seal_policy policy = {0};
    struct pcr_values baseline[2] = {{.bank = HASH_SHA384, .mask = PCR_BIT(4)},
                                     {.bank = HASH_SHA384, .mask = PCR_BIT(7)}};
    enum mu_status status;

    assert_non_null(data);
    status = tpm2_from_json(data, baseline, baselines, &sealed, &policy, ret_fence, &err);
    if (status == MU_OK) {
        uint32_t fence = *ret_fence == TPM2_NO_FENCE ? 0 : PCR_BIT(*ret_fence);

        assert_int_equal(policy.states, baselines);
        assert_int_equal(policy.state[0].mask, PCR_BIT(4) | fence);
    }
    return status;
}

TEST(test_json)
{
    static const struct {
        const char *text;
        enum mu_status status;
        int fence;
    } cases[] = {
        {"{" GOOD "}", MU_OK, TPM2_NO_FENCE},
        {"{" GOOD ",\"fence_pcr\":15}", MU_OK, 15},
        {"{" GOOD ",\"fence_pcr\":8,\"authority\":\"AAAA\",\"signatures\":[\"AA==\",\"AA==\"]}",
         MU_OK, 8},
        {"{" GOOD ",\"counter\":{\"index\":\"0x01804d55\",\"limit\":33}}", MU_OK, TPM2_NO_FENCE},
        {"{" GOOD ",\"counter\":{\"index\":\"0x01804d55\",\"limit\":0}}", MU_REFUSE, 0},
        {"{" GOOD ",\"counter\":{\"index\":\"0x01804d55\"}}", MU_REFUSE, 0},
        {"{" GOOD ",\"counter\":{\"index\":\"0x01d10200\",\"limit\":33}}", MU_REFUSE, 0},
        {"{" GOOD ",\"counter\":{\"index\":\"0x01800000\",\"limit\":33}}", MU_REFUSE, 0},
        {"{" GOOD ",\"counter\":{\"index\":\"0x1804d55\",\"limit\":33}}", MU_REFUSE, 0},
        {"{" GOOD ",\"counter\":{\"index\":25185621,\"limit\":33}}", MU_REFUSE, 0},
        {"{" GOOD ",\"counter\":{\"index\":\"0x01804d55\",\"limit\":33,\"x\":1}}", MU_REFUSE, 0},
        {"{" GOOD ",\"counter\":33}", MU_REFUSE, 0},
        {"{}", MU_REFUSE, 0},
        {"{" GOOD ",\"more\":1}", MU_REFUSE, 0},
        {"{" GOOD ",\"fence_pcr\":16}", MU_REFUSE, 0},
        {"{" GOOD ",\"fence_pcr\":7}", MU_REFUSE, 0},
        {"{" GOOD ",\"fence_pcr\":-1}", MU_REFUSE, 0},
        {"{" GOOD ",\"fence_pcr\":\"15\"}", MU_REFUSE, 0},
        {"{" GOOD ",\"authority\":\"AAAA\"}", MU_REFUSE, 0},
        {"{" GOOD ",\"authority\":\"AAAA\",\"signatures\":[\"AA==\"]}", MU_REFUSE, 0},
        {"{" GOOD ",\"authority\":\"AAAA\",\"signatures\":[\"AA==\",null]}", MU_REFUSE, 0},
        {"{" GOOD ",\"authority\":\"AAAA\",\"signatures\":[\"AA==\",\"?\"]}", MU_REFUSE, 0},
        {"{" GOOD ",\"authority\":\"AAAA\",\"signatures\":{}}", MU_REFUSE, 0},
        {"{\"public\":\"AAAA\",\"private\":\"AAAA\"}", MU_REFUSE, 0},
        {"{\"public\":\"AAAA\",\"private\":\"AAA\",\"parent\":\"AAAA\"}", MU_REFUSE, 0},
        {"{\"public\":\"AAAA\",\"private\":7,\"parent\":\"AAAA\"}", MU_REFUSE, 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fence = 99;
        enum mu_status status = parse(cases[i].text, 2, &fence);

        if (status != cases[i].status || (status == MU_OK && fence != cases[i].fence))
            fail_msg("case %zu: %d, fence %d: %s", i, (int)status, fence, err.text);
    }
}
