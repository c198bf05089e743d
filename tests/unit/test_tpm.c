/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fake_tcti.h"
#include "test.h"
#include "tpm/internal.h"

#define CC_NSM_REQUEST 0x20000001u
#define ALL_PCRS (PCR_BIT(PCR_COUNT) - 1)

static struct fake_tpm fake;
static struct tpm *tpm;

/* {"Attestation": {"document": h'aa' * 1200}} */
static uint8_t answer[1300];
static const uint8_t answer_head[] = {0xa1, 0x6b, 'A', 't', 't',  'e',  's',  't', 'a',
                                      't',  'i',  'o', 'n', 0xa1, 0x68, 'd',  'o', 'c',
                                      'u',  'm',  'e', 'n', 't',  0x59, 0x04, 0xb0};
#define ANSWER_LEN (sizeof(answer_head) + 1200)
static const struct bytes request = {(const uint8_t *)"\xa1\x61q\xf6", 4};

static enum mu_status connect_fake(const char *where, TSS2_TCTI_CONTEXT **ret, struct mu_error *e)
{
    (void)e;
    assert_int_equal(fake.connections, 0); /* never both devices at once */
    if (strcmp(where, TPM_DEVICE TPM_DIRECT_PATH) == 0)
        fake.manager_rejects = false;
    *ret = fake_tcti_new(&fake);
    return MU_OK;
}

static enum mu_status connect_managed_only(const char *where, TSS2_TCTI_CONTEXT **ret,
                                           struct mu_error *e)
{
    if (strcmp(where, TPM_DEVICE TPM_DIRECT_PATH) == 0)
        return mu_fail(e, MU_CONFIG, "no such device");
    return connect_fake(where, ret, e);
}

/* Only looked at and locked. */
static const char *managed(void)
{
    const char *path = temp_path("managed");
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    (void)fclose(f);
    return path;
}

void before_each(void)
{
    memset(&fake, 0, sizeof(fake));
    memset(answer, 0xff, sizeof(answer));
    memcpy(answer, answer_head, sizeof(answer_head));
    memset(answer + sizeof(answer_head), 0xaa, 1200);
    fake_tpm_usual(&fake);
    fake.nv_chunk = 1024;
    fake.nsm_answer = (struct bytes){answer, sizeof(answer)};
    tpm = fake_open(&fake);
    tpm->connect = connect_fake;
}

void after_each(void)
{
    tpm_close(&tpm);
    assert_int_equal(fake.connections, 0);
}

TEST(test_hashes)
{
    static const uint8_t abc_sha1[] = {0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e,
                                       0x25, 0x71, 0x78, 0x50, 0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d};
    struct digest digest = {0};

    assert_int_equal(hash_from_name("SHA384"), HASH_SHA384);
    assert_int_equal(hash_from_name("sha3"), HASH_NONE);
    assert_int_equal(hash_size(HASH_SHA512), 64);
    assert_int_equal(hash_size((enum hash_alg)0x12), 0);
    assert_string_equal(hash_name((enum hash_alg)0x12), "unknown");
    assert_int_equal(
        hash_bytes(HASH_SHA1, (struct bytes){(const uint8_t *)"abc", 3}, &digest, &err), MU_OK);
    assert_memory_equal(digest.bytes, abc_sha1, sizeof(abc_sha1));
    assert_int_equal(hash_bytes(HASH_NONE, request, &digest, &err), MU_INTERNAL);
}

TEST(test_codes_have_classes)
{
    static const struct {
        TSS2_RC rc;
        enum mu_status status;
    } cases[] = {
        {TPM2_RC_RETRY, MU_RETRY},
        {TPM2_RC_LOCKOUT, MU_RETRY},
        {TSS2_RESMGR_TPM_RC_LAYER | TPM2_RC_LOCKOUT, MU_RETRY},
        {TPM2_RC_BAD_AUTH | 0x900, MU_REFUSE},
        {TPM2_RC_AUTH_FAIL | 0x100, MU_REFUSE},
        {TPM2_RC_POLICY_FAIL | 0x900, MU_REFUSE},
        {TPM2_RC_INITIALIZE, MU_CONFIG},
        {TPM2_RC_COMMAND_CODE, MU_CONFIG},
        {TSS2_RESMGR_RC_LAYER | TPM2_RC_COMMAND_CODE, MU_CONFIG},
        {TPM2_RC_HIERARCHY | 0x140, MU_CONFIG},
        {TPM2_RC_NV_SPACE, MU_CONFIG},
        {TPM2_RC_VALUE | 0x1c0, MU_INTERNAL},
        {TSS2_TCTI_RC_IO_ERROR, MU_RETRY},
        {TSS2_TCTI_RC_MALFORMED_RESPONSE, MU_REFUSE},
        {TSS2_ESYS_RC_BAD_REFERENCE, MU_INTERNAL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(tpm_fail(&err, cases[i].rc, "test"), cases[i].status);
        assert_non_null(strstr(err.text, "TPM: test: "));
    }
}

TEST(test_banks)
{
    struct tpm_banks banks;

    fake.bank[3] = (struct fake_bank){.alg = 0x12, .mask = 0};
    fake.banks = 4;
    assert_int_equal(tpm_banks(tpm, &banks, &err), MU_OK);
    assert_int_equal(banks.count, 4);
    assert_int_equal(banks.bank[2].alg, HASH_SHA384);
    assert_int_equal(banks.bank[2].mask, ALL_PCRS);
    assert_int_equal(banks.bank[3].mask, 0);
    fake.banks = 9;
    assert_int_equal(tpm_banks(tpm, &banks, &err), MU_CONFIG);
    assert_int_equal(banks.count, 4);
}

TEST(test_pcr_read_all)
{
    struct pcr_values values = {0};

    for (unsigned i = 0; i < PCR_COUNT; i++)
        memset(fake.bank[2].pcr[i], (int)i + 1, HASH_MAX_SIZE);
    assert_int_equal(tpm_pcr_read(tpm, HASH_SHA384, ALL_PCRS, &values, &err), MU_OK);
    assert_int_equal(values.mask, ALL_PCRS);
    for (unsigned i = 0; i < PCR_COUNT; i++)
        assert_memory_equal(values.value[i].bytes, fake.bank[2].pcr[i], 48);
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Read), 3);
    /* What is not of this bank's size stays zero. */
    assert_true(bytes_all_zero((struct bytes){values.value[0].bytes + 48, 16}));
}

TEST(test_pcr_read_starts_over_when_pcrs_move)
{
    struct pcr_values values = {0};

    fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_PCR_Read, FAKE_MOVE_PCRS, .count = 1});
    assert_int_equal(tpm_pcr_read(tpm, HASH_SHA384, ALL_PCRS, &values, &err), MU_OK);
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Read), 2 + 3);
    fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_PCR_Read, FAKE_MOVE_PCRS, .count = 0});
    assert_int_equal(tpm_pcr_read(tpm, HASH_SHA384, ALL_PCRS, &values, &err), MU_RETRY);
}

TEST(test_pcr_read_needs_the_bank)
{
    struct pcr_values values = {.mask = 77};

    fake.banks = 2;
    assert_int_equal(tpm_pcr_read(tpm, HASH_SHA384, PCR_BIT(4), &values, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "no sha384 bank, only sha1 sha256"));
    fake.banks = 3;
    fake.bank[2].mask = 0;
    assert_int_equal(tpm_pcr_read(tpm, HASH_SHA384, PCR_BIT(4), &values, &err), MU_CONFIG);
    fake.bank[2].mask = ALL_PCRS & ~PCR_BIT(4);
    assert_int_equal(tpm_pcr_read(tpm, HASH_SHA384, PCR_BIT(4), &values, &err), MU_CONFIG);
    assert_int_equal(values.mask, 77);
    assert_int_equal(tpm_pcr_read(tpm, HASH_SHA384, PCR_BIT(5), &values, &err), MU_OK);
}

/* A response of every shorter length, and one with a bit altered anywhere before the values, is not
 * taken. */
TEST(test_pcr_read_bad_responses)
{
    struct pcr_values values;
    const size_t size = 10 + 4 + 10 + 4 + 50;

    for (size_t i = 0; i < size; i++) {
        fake.faults = 0;
        fake_tpm_fault(
            &fake, (struct fake_fault){TPM2_CC_PCR_Read, FAKE_TRUNCATE, .value = i, .count = 1});
        assert_int_not_equal(tpm_pcr_read(tpm, HASH_SHA384, PCR_BIT(4), &values, &err), MU_OK);
    }
    for (size_t i = 14; i < size - 48; i++) {
        fake.faults = 0;
        fake_tpm_fault(&fake,
                       (struct fake_fault){TPM2_CC_PCR_Read, FAKE_FLIP, .value = i, .count = 1});
        assert_int_not_equal(tpm_pcr_read(tpm, HASH_SHA384, PCR_BIT(4), &values, &err), MU_OK);
    }
    assert_int_equal(tpm_pcr_read(tpm, HASH_SHA384, PCR_BIT(4), &values, &err), MU_OK);
}

TEST(test_busy_tpm_is_asked_again)
{
    struct pcr_values values;

    /* More often than tpm2-tss does by itself. */
    fake_tpm_fault(&fake,
                   (struct fake_fault){TPM2_CC_PCR_Read, FAKE_RC, TPM2_RC_RETRY, .count = 9});
    assert_int_equal(tpm_pcr_read(tpm, HASH_SHA384, PCR_BIT(4), &values, &err), MU_OK);
    fake_tpm_fault(&fake,
                   (struct fake_fault){TPM2_CC_PCR_Read, FAKE_RC, TPM2_RC_NV_RATE, .count = 0});
    tpm->deadline = (struct deadline){.at_us = clock_now_us() + 50000};
    assert_int_equal(tpm_pcr_read(tpm, HASH_SHA384, PCR_BIT(4), &values, &err), MU_RETRY);
}

TEST(test_event_extends_every_bank)
{
    struct digest expected = {0}, value;

    assert_int_equal(tpm_pcr_event(tpm, 15, request, &err), MU_OK);
    for (size_t i = 0; i < 3; i++) {
        enum hash_alg alg = (enum hash_alg)fake.bank[i].alg;

        expected = (struct digest){0};
        assert_int_equal(hash_bytes(alg, request, &value, &err), MU_OK);
        assert_int_equal(hash_extend(alg, &expected, value.bytes, &err), MU_OK);
        assert_memory_equal(expected.bytes, fake.bank[i].pcr[15], hash_size(alg));
    }
    assert_int_equal(tpm_pcr_event(tpm, 15, (struct bytes){answer, 1024}, &err), MU_OK);
    assert_int_equal(tpm_pcr_event(tpm, 15, (struct bytes){answer, 1025}, &err), MU_INTERNAL);
    assert_int_equal(tpm_pcr_event(tpm, 15, (struct bytes){answer, 0}, &err), MU_INTERNAL);
    assert_int_equal(tpm_pcr_event(tpm, 24, request, &err), MU_INTERNAL);
}

TEST(test_manufacturer)
{
    char maker[5];

    assert_int_equal(tpm_manufacturer(tpm, maker, &err), MU_OK);
    assert_string_equal(maker, "FAKE");
}

static void assert_answered(void)
{
    struct buffer got = {0};

    assert_int_equal(tpm_nsm_request(tpm, request, &got, &err), MU_OK);
    assert_int_equal(got.len, ANSWER_LEN);
    assert_memory_equal(got.data, answer, ANSWER_LEN);
    assert_memory_equal(fake.request, request.data, request.len);
    buffer_free(&got);
}

static void assert_not_answered(enum mu_status status, const char *text)
{
    struct buffer got = {0};

    assert_int_equal(tpm_nsm_request(tpm, request, &got, &err), status);
    assert_null(got.data);
    if (strstr(err.text, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

TEST(test_nsm_answer)
{
    static const uint32_t chunks[] = {0, 1, 64, 512, 1024, 2048};

    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        fake.nv_chunk = chunks[i];
        fake.commands = 0;
        if (chunks[i] != 1) {
            assert_answered();
            assert_int_equal(fake_tpm_indexes(&fake), 0);
        }
        /* No further than the answer goes. */
        if (chunks[i] == 512)
            assert_int_equal(fake_tpm_count(&fake, TPM2_CC_NV_Read), 3);
    }
}

/* The last 48 bytes of the index are read in a shorter chunk where 8192 is not a multiple. */
TEST(test_nsm_longest_answer)
{
    static uint8_t longest[8192];
    struct buffer got = {0};

    memset(longest, 0x55, sizeof(longest));
    memcpy(longest, (const uint8_t[]){0x59, 0x1f, 0xfd}, 3);
    fake.nsm_answer = (struct bytes){longest, sizeof(longest)};
    fake.nv_chunk = 1000;
    assert_int_equal(tpm_nsm_request(tpm, request, &got, &err), MU_OK);
    assert_int_equal(got.len, sizeof(longest));
    assert_memory_equal(got.data, longest, sizeof(longest));
    buffer_free(&got);
    longest[2]++;
    assert_not_answered(MU_REFUSE, "not CBOR of at most 8192 bytes");
}

TEST(test_nsm_answer_not_cbor)
{
    answer[0] = 0xff; /* a break outside of anything: what an untouched index holds */
    assert_not_answered(MU_REFUSE, "not CBOR");
    assert_int_equal(fake_tpm_indexes(&fake), 0);
    /* An array that says it has 268435455 elements: no memory is taken on its word. */
    memcpy(answer, (const uint8_t[]){0x9a, 0x0f, 0xff, 0xff, 0xff}, 5);
    assert_not_answered(MU_REFUSE, "not CBOR");
    memset(answer, 0x81, 64); /* deeper than cbor_skip() goes */
    assert_not_answered(MU_REFUSE, "not CBOR");
}

TEST(test_nsm_index_is_removed_whatever_fails)
{
    static const struct {
        struct fake_fault fault;
        enum mu_status status;
    } cases[] = {
        {{TPM2_CC_NV_Write, FAKE_RC, TPM2_RC_NV_LOCKED, 0, 0, 1}, MU_INTERNAL},
        {{TPM2_CC_NV_Write, FAKE_RECEIVE, TSS2_TCTI_RC_IO_ERROR, 0, 0, 1}, MU_RETRY},
        {{TPM2_CC_NV_Read, FAKE_RC, TPM2_RC_NV_AUTHORIZATION, 0, 1, 1}, MU_REFUSE},
        {{TPM2_CC_NV_Read, FAKE_TRUNCATE, 0, 30, 0, 1}, MU_REFUSE},
        {{CC_NSM_REQUEST, FAKE_RC, TPM2_RC_FAILURE, 0, 0, 1}, MU_CONFIG},
        {{CC_NSM_REQUEST, FAKE_RC, TPM2_RC_BAD_AUTH | 0x900, 0, 0, 1}, MU_REFUSE},
        {{CC_NSM_REQUEST, FAKE_TRANSMIT, TSS2_TCTI_RC_IO_ERROR, 0, 0, 1}, MU_RETRY},
        {{CC_NSM_REQUEST, FAKE_TRUNCATE, 0, 9, 0, 1}, MU_RETRY},
        {{CC_NSM_REQUEST, FAKE_FLIP, 0, 5, 0, 1}, MU_REFUSE},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fake.faults = 0;
        fake_tpm_fault(&fake, cases[i].fault);
        assert_not_answered(cases[i].status, "TPM: ");
        assert_int_equal(fake_tpm_indexes(&fake), 0);
    }
    assert_answered();
}

TEST(test_nsm_index_is_removed_over_a_new_connection)
{
    fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_NV_UndefineSpace, FAKE_TRANSMIT,
                                              TSS2_TCTI_RC_IO_ERROR, .count = 1});
    assert_answered();
    assert_int_equal(fake_tpm_indexes(&fake), 0);
}

TEST(test_nsm_busy)
{
    fake_tpm_fault(&fake, (struct fake_fault){CC_NSM_REQUEST, FAKE_RC, TPM2_RC_RETRY, .count = 3});
    assert_answered();
    assert_int_equal(fake_tpm_count(&fake, CC_NSM_REQUEST), 4);
}

/* Undefine fails twice, as if the machine had died before it: the next request cleans up. */
TEST(test_nsm_leftover_is_removed)
{
    fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_NV_UndefineSpace, FAKE_TRANSMIT,
                                              TSS2_TCTI_RC_IO_ERROR, .count = 2});
    assert_answered();
    assert_int_equal(fake_tpm_indexes(&fake), 1);
    assert_answered();
    assert_int_equal(fake_tpm_indexes(&fake), 0);
}

TEST(test_nsm_others_indexes_stay)
{
    fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_NV_UndefineSpace, FAKE_TRANSMIT,
                                              TSS2_TCTI_RC_IO_ERROR, .count = 2});
    assert_answered();
    assert_int_equal(fake_tpm_indexes(&fake), 1);
    /* The policy digest is another one now. */
    fake.nv[0].public_area[20] ^= 1;
    assert_answered();
    assert_int_equal(fake_tpm_indexes(&fake), 1);
    assert_int_equal(fake.nv[0].index, 0x01800000);
}

TEST(test_nsm_no_free_index)
{
    for (uint32_t i = 0; i < 64; i++) {
        fake.nv[i] = (struct fake_nv){.used = true, .index = 0x01800000 + i, .public_len = 14};
        memcpy(fake.nv[i].public_area, (const uint8_t[]){1, 0x80, 0, (uint8_t)i, 0, 11}, 6);
    }
    assert_not_answered(MU_CONFIG, "all taken");
    fake.nv[63].used = false;
    assert_answered();
    assert_int_equal(fake_tpm_indexes(&fake), 63);
}

TEST(test_nsm_define_fails)
{
    fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_NV_DefineSpace, FAKE_RC, TPM2_RC_NV_DEFINED,
                                              .count = 2});
    assert_answered();
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_NV_DefineSpace), 3);
    fake_tpm_fault(
        &fake, (struct fake_fault){TPM2_CC_NV_DefineSpace, FAKE_RC, TPM2_RC_NV_SPACE, .count = 1});
    assert_not_answered(MU_CONFIG, "tpm2_nvundefine");
    fake.faults = 0;
    fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_NV_DefineSpace, FAKE_RC,
                                              TPM2_RC_BAD_AUTH | 0x900, .count = 1});
    assert_not_answered(MU_CONFIG, "owner hierarchy");
}

TEST(test_nsm_not_a_nitrotpm)
{
    fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_NV_DefineSpace, FAKE_RC, TPM2_RC_SIZE | 0x2c0,
                                              .count = 1});
    assert_not_answered(MU_CONFIG, "not a NitroTPM: the TPM has no NV index of 8192 bytes");
    fake.nsm_answer = (struct bytes){0};
    assert_not_answered(MU_CONFIG, "not a NitroTPM: the TPM (made by \"FAKE\")");
    assert_int_equal(fake_tpm_indexes(&fake), 0);
}

TEST(test_nsm_falls_back_to_the_device)
{
    fake.manager_rejects = true;
    /* Asked for by name: stays there. */
    assert_not_answered(MU_CONFIG, "not a NitroTPM");
    tpm->managed_path = managed();
    assert_answered();
    assert_null(tpm->managed_path);
    assert_int_equal(fake_tpm_indexes(&fake), 0);
    assert_answered();
}

TEST(test_nsm_fallback_fails)
{
    struct pcr_values values;

    fake.manager_rejects = true;
    tpm->managed_path = managed();
    tpm->connect = connect_managed_only;
    assert_not_answered(MU_CONFIG, "no such device");
    /* The resource manager is there again, for the fence. */
    assert_int_equal(tpm_pcr_read(tpm, HASH_SHA384, PCR_BIT(4), &values, &err), MU_OK);
    assert_string_equal(tpm->managed_path, temp_path("managed"));
}

TEST(test_open_fails)
{
    struct deadline now = deadline_in(0);
    struct tpm *none = NULL;

    assert_int_equal(tpm_open("mssim:x", now, &none, &err), MU_CONFIG);
    assert_int_equal(tpm_open("device:/nonexistent", now, &none, &err), MU_RETRY);
    assert_int_equal(tpm_open("swtpm:host=127.0.0.1,port=1", now, &none, &err), MU_RETRY);
    assert_null(none);
}
