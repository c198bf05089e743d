/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <tss2/tss2_tpm2_types.h>

#include "fake_tcti.h"
#include "tpm/fence.h"

#define ALG_SM3 0x0012
#define FENCE 15u

static struct fake_tpm fake;
static struct tpm *tpm;
static struct mu_error err;
static const struct bytes items[] = {{(const uint8_t *)"first", 5}, {(const uint8_t *)"second", 6}};

static int setup(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof(fake));
    memset(&err, 0, sizeof(err));
    fake_tpm_usual(&fake);
    tpm = fake_open(&fake);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tpm_close(&tpm);
    return 0;
}

static void add_sm3(void)
{
    fake.bank[3] = (struct fake_bank){.alg = ALG_SM3, .mask = PCR_BIT(PCR_COUNT) - 1};
    fake.banks = 4;
}

static bool open_in(size_t bank)
{
    return bytes_all_zero((struct bytes){fake.bank[bank].pcr[FENCE], HASH_MAX_SIZE});
}

static void assert_says(const char *text)
{
    if (strstr(err.text, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void test_open_at_first(void **state)
{
    (void)state;
    add_sm3();
    assert_int_equal(fence_check_open(tpm, FENCE, &err), MU_OK);
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Event), 0);
}

static void test_one_closed_bank_is_enough(void **state)
{
    (void)state;
    add_sm3();
    for (size_t i = 0; i < 4; i++) {
        fake.bank[i].pcr[FENCE][19] = 1;
        assert_int_equal(fence_check_open(tpm, FENCE, &err), MU_REFUSE);
        assert_says("closed before in this boot");
        fake.bank[i].pcr[FENCE][19] = 0;
    }
    fake.bank[2].pcr[FENCE - 1][0] = 1;
    assert_int_equal(fence_check_open(tpm, FENCE, &err), MU_OK);
}

static void test_needs_sha384(void **state)
{
    (void)state;
    fake.banks = 2;
    assert_int_equal(fence_require_bank(tpm, FENCE, HASH_SHA384, &err), MU_CONFIG);
    assert_says("not allocated in bank sha384");
    assert_int_equal(fence_require_bank(tpm, FENCE, HASH_SHA256, &err), MU_OK);
    fake.banks = 3;
    fake.bank[2].mask = 0x0fff;
    assert_int_equal(fence_require_bank(tpm, FENCE, HASH_SHA384, &err), MU_CONFIG);
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Event), 0);
    fake.bank[2].mask = PCR_BIT(FENCE);
    assert_int_equal(fence_require_bank(tpm, FENCE, HASH_SHA384, &err), MU_OK);
}

static void test_sha256_alone_can_be_fenced(void **state)
{
    (void)state;
    fake.banks = 2;
    assert_int_equal(fence_check_open(tpm, FENCE, &err), MU_OK);
    assert_int_equal(fence_close(tpm, FENCE, items, 2, &err), MU_OK);
    assert_false(open_in(0));
    assert_false(open_in(1));
}

static void test_close_extends_all(void **state)
{
    (void)state;
    add_sm3();
    fake.bank[0].mask = 0;
    assert_int_equal(fence_close(tpm, FENCE, items, 2, &err), MU_OK);
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Event), 2);
    assert_true(open_in(0)); /* not allocated: nobody can read it either */
    for (size_t i = 1; i < 4; i++)
        assert_false(open_in(i));
    assert_int_equal(fence_check_open(tpm, FENCE, &err), MU_REFUSE);
    assert_int_equal(fence_close(tpm, FENCE, items, 0, &err), MU_INTERNAL);
}

static void test_half_closed_is_refused(void **state)
{
    static const struct fake_fault faults[] = {
        {TPM2_CC_PCR_Event, FAKE_FORGET, 0, 0, 0, 1},
        {TPM2_CC_PCR_Event, FAKE_FORGET, 0, 0, 1, 1},
        {TPM2_CC_PCR_Event, FAKE_SKIP_BANK, 0, 0, 0, 0},
        {TPM2_CC_PCR_Event, FAKE_SKIP_BANK, 0, 1, 0, 1},
        {TPM2_CC_PCR_Event, FAKE_SKIP_BANK, 0, 2, 1, 1},
        {TPM2_CC_PCR_Event, FAKE_SKIP_BANK, 0, 3, 0, 0}, /* SM3: at least it has to change */
        {TPM2_CC_PCR_Event, FAKE_RC, TPM2_RC_FAILURE, 0, 0, 1},
        {TPM2_CC_PCR_Event, FAKE_RC, TPM2_RC_LOCALITY, 0, 1, 1},
        {TPM2_CC_PCR_Event, FAKE_TRANSMIT, TSS2_TCTI_RC_IO_ERROR, 0, 0, 1},
        {TPM2_CC_PCR_Event, FAKE_RECEIVE, TSS2_TCTI_RC_IO_ERROR, 0, 1, 1},
        /* Four banks were read before: these spoil the reading back. */
        {TPM2_CC_PCR_Read, FAKE_RC, TPM2_RC_FAILURE, 0, 4, 1},
        {TPM2_CC_PCR_Read, FAKE_RECEIVE, TSS2_TCTI_RC_IO_ERROR, 0, 7, 1},
        {TPM2_CC_PCR_Read, FAKE_FLIP, 0, 30, 4, 1},
        {TPM2_CC_PCR_Read, FAKE_FLIP, 0, 60, 6, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        teardown(NULL);
        setup(NULL);
        add_sm3();
        fake_tpm_fault(&fake, faults[i]);
        if (fence_close(tpm, FENCE, items, 2, &err) != MU_REFUSE)
            fail_msg("case %zu: %d %s", i, (int)err.status, err.text);
        assert_int_equal(err.status, MU_REFUSE);
        assert_says("could not be closed");
    }
}

static void test_trouble_before_the_first_event_keeps_its_class(void **state)
{
    (void)state;
    fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_PCR_Read, FAKE_TRANSMIT,
                                              TSS2_TCTI_RC_IO_ERROR, .count = 1});
    assert_int_equal(fence_close(tpm, FENCE, items, 2, &err), MU_RETRY);
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Event), 0);
    assert_int_equal(fence_close(tpm, FENCE, items, 2, &err), MU_OK);
}

static void test_ensure(void **state)
{
    (void)state;
    add_sm3();
    assert_int_equal(fence_ensure(tpm, FENCE, "test", &err), MU_OK);
    for (size_t i = 0; i < 4; i++)
        assert_false(open_in(i));
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Event), 1);
    assert_int_equal(fence_ensure(tpm, FENCE, NULL, &err), MU_OK);
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Event), 1);
}

static void test_ensure_closes_what_is_left_open(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        memset(fake.bank[i].pcr[FENCE], i == 1 ? 0 : 7, HASH_MAX_SIZE);
        fake.bank[i].pcr[FENCE][0] = i != 1;
    }
    assert_int_equal(fence_ensure(tpm, FENCE, "", &err), MU_OK);
    assert_false(open_in(1));
}

/* A long reason is cut, and there is one without a SHA-384 bank too. */
static void test_ensure_always_has_something_to_extend(void **state)
{
    static char reason[5000];

    (void)state;
    memset(reason, 'x', sizeof(reason) - 1);
    fake.banks = 1;
    assert_int_equal(fence_ensure(tpm, FENCE, reason, &err), MU_OK);
    assert_false(open_in(0));
    fake.bank[0].mask = 0;
    assert_int_equal(fence_ensure(tpm, FENCE, reason, &err), MU_CONFIG);
}

static void test_ensure_is_stubborn(void **state)
{
    static const struct fake_fault faults[] = {
        {TPM2_CC_GetCapability, FAKE_TRANSMIT, TSS2_TCTI_RC_IO_ERROR, 0, 0, 2},
        {TPM2_CC_PCR_Read, FAKE_RECEIVE, TSS2_TCTI_RC_IO_ERROR, 0, 1, 1},
        {TPM2_CC_PCR_Event, FAKE_TRANSMIT, TSS2_TCTI_RC_IO_ERROR, 0, 0, 1},
        {TPM2_CC_PCR_Event, FAKE_RECEIVE, TSS2_TCTI_RC_IO_ERROR, 0, 0, 1},
        {TPM2_CC_PCR_Event, FAKE_FORGET, 0, 0, 0, 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        teardown(NULL);
        setup(NULL);
        fake_tpm_fault(&fake, faults[i]);
        assert_int_equal(fence_ensure(tpm, FENCE, "test", &err), MU_OK);
        assert_false(open_in(0));
        assert_false(open_in(2));
    }
    teardown(NULL);
    setup(NULL);
    fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_PCR_Event, FAKE_SKIP_BANK, .value = 2});
    assert_int_equal(fence_ensure(tpm, FENCE, "test", &err), MU_REFUSE);
    assert_says("still holds its initial value");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_open_at_first),
        TEST(test_one_closed_bank_is_enough),
        TEST(test_needs_sha384),
        TEST(test_sha256_alone_can_be_fenced),
        TEST(test_close_extends_all),
        TEST(test_half_closed_is_refused),
        TEST(test_trouble_before_the_first_event_keeps_its_class),
        TEST(test_ensure),
        TEST(test_ensure_closes_what_is_left_open),
        TEST(test_ensure_always_has_something_to_extend),
        TEST(test_ensure_is_stubborn),
    };

    (void)setenv("TSS2_LOG", "all+NONE", 0);
    return cmocka_run_group_tests_name("fence", tests, NULL, NULL);
}
