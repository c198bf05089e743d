/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <tss2/tss2_tpm2_types.h>

#include "fake_tcti.h"
#include "test.h"
#include "tpm/fence.h"

#define ALG_SM3 0x0012
#define FENCE 15u

static struct fake_tpm fake;
static struct tpm *tpm;
static const struct bytes items[] = {{(const uint8_t *)"first", 5}, {(const uint8_t *)"second", 6}};

void before_each(void)
{
    memset(&fake, 0, sizeof(fake));
    fake_tpm_usual(&fake);
    tpm = fake_open(&fake);
}

void after_each(void)
{
    tpm_close(&tpm);
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

TEST(test_open_at_first)
{
    add_sm3();
    assert_int_equal(fence_check_open(tpm, FENCE, &err), MU_OK);
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Event), 0);
}

TEST(test_one_closed_bank_is_enough)
{
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

TEST(test_needs_sha384)
{
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

TEST(test_sha256_alone_can_be_fenced)
{
    fake.banks = 2;
    assert_int_equal(fence_check_open(tpm, FENCE, &err), MU_OK);
    assert_int_equal(fence_close(tpm, FENCE, items, 2, &err), MU_OK);
    assert_false(open_in(0));
    assert_false(open_in(1));
}

TEST(test_close_extends_all)
{
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

TEST(test_half_closed_is_refused)
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

    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        after_each();
        before_each();
        add_sm3();
        fake_tpm_fault(&fake, faults[i]);
        if (fence_close(tpm, FENCE, items, 2, &err) != MU_REFUSE)
            fail_msg("case %zu: %d %s", i, (int)err.status, err.text);
        assert_int_equal(err.status, MU_REFUSE);
        assert_says("could not be closed");
    }
}

TEST(test_trouble_before_the_first_event_keeps_its_class)
{
    fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_PCR_Read, FAKE_TRANSMIT,
                                              TSS2_TCTI_RC_IO_ERROR, .count = 1});
    assert_int_equal(fence_close(tpm, FENCE, items, 2, &err), MU_RETRY);
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Event), 0);
    assert_int_equal(fence_close(tpm, FENCE, items, 2, &err), MU_OK);
}

TEST(test_ensure)
{
    add_sm3();
    assert_int_equal(fence_ensure(tpm, FENCE, "test", &err), MU_OK);
    for (size_t i = 0; i < 4; i++)
        assert_false(open_in(i));
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Event), 1);
    assert_int_equal(fence_ensure(tpm, FENCE, NULL, &err), MU_OK);
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Event), 1);
}

TEST(test_ensure_closes_what_is_left_open)
{
    for (size_t i = 0; i < 3; i++) {
        memset(fake.bank[i].pcr[FENCE], i == 1 ? 0 : 7, HASH_MAX_SIZE);
        fake.bank[i].pcr[FENCE][0] = i != 1;
    }
    assert_int_equal(fence_ensure(tpm, FENCE, "", &err), MU_OK);
    assert_false(open_in(1));
}

/* A long reason is cut, and there is one without a SHA-384 bank too. */
TEST(test_ensure_always_has_something_to_extend)
{
    static char reason[5000];

    memset(reason, 'x', sizeof(reason) - 1);
    fake.banks = 1;
    assert_int_equal(fence_ensure(tpm, FENCE, reason, &err), MU_OK);
    assert_false(open_in(0));
    fake.bank[0].mask = 0;
    assert_int_equal(fence_ensure(tpm, FENCE, reason, &err), MU_CONFIG);
}

TEST(test_ensure_is_stubborn)
{
    static const struct fake_fault faults[] = {
        {TPM2_CC_GetCapability, FAKE_TRANSMIT, TSS2_TCTI_RC_IO_ERROR, 0, 0, 2},
        {TPM2_CC_PCR_Read, FAKE_RECEIVE, TSS2_TCTI_RC_IO_ERROR, 0, 1, 1},
        {TPM2_CC_PCR_Event, FAKE_TRANSMIT, TSS2_TCTI_RC_IO_ERROR, 0, 0, 1},
        {TPM2_CC_PCR_Event, FAKE_RECEIVE, TSS2_TCTI_RC_IO_ERROR, 0, 0, 1},
        {TPM2_CC_PCR_Event, FAKE_FORGET, 0, 0, 0, 2},
    };

    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        after_each();
        before_each();
        fake_tpm_fault(&fake, faults[i]);
        assert_int_equal(fence_ensure(tpm, FENCE, "test", &err), MU_OK);
        assert_false(open_in(0));
        assert_false(open_in(2));
    }
    after_each();
    before_each();
    fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_PCR_Event, FAKE_SKIP_BANK, .value = 2});
    assert_int_equal(fence_ensure(tpm, FENCE, "test", &err), MU_REFUSE);
    assert_says("still holds its initial value");
}

static bool any_open(void)
{
    for (size_t bank = 0; bank < fake.banks; bank++)
        for (unsigned pcr = 8; pcr <= 15; pcr++)
            if ((fake.bank[bank].mask & PCR_BIT(pcr)) != 0 &&
                bytes_all_zero((struct bytes){fake.bank[bank].pcr[pcr], HASH_MAX_SIZE}))
                return true;
    return false;
}

/* The premise: whichever PCR the fence is, one alone leaves the others open. */
TEST(test_ensure_all)
{
    add_sm3();
    assert_int_equal(fence_ensure(tpm, FENCE, "test", &err), MU_OK);
    assert_true(any_open());
    fake.bank[1].pcr[11][0] = 1; /* extended by what boots */
    assert_int_equal(fence_ensure_all(tpm, "test", &err), MU_OK);
    assert_false(any_open());
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Event), 8);
    assert_true(bytes_all_zero((struct bytes){fake.bank[0].pcr[7], HASH_MAX_SIZE}));
    assert_true(bytes_all_zero((struct bytes){fake.bank[0].pcr[16], HASH_MAX_SIZE}));
    assert_int_equal(fence_ensure_all(tpm, "test", &err), MU_OK);
    assert_int_equal(fake_tpm_count(&fake, TPM2_CC_PCR_Event), 8);
}

TEST(test_ensure_all_goes_as_far_as_it_can)
{
    for (size_t i = 0; i < fake.banks; i++)
        fake.bank[i].mask &= ~PCR_BIT(9); /* in no bank */
    fake_tpm_fault(&fake, (struct fake_fault){TPM2_CC_PCR_Event, FAKE_TRANSMIT,
                                              TSS2_TCTI_RC_IO_ERROR, 0, 0, 3});
    assert_int_not_equal(fence_ensure_all(tpm, "test", &err), MU_OK); /* PCR 8, three times */
    assert_true(bytes_all_zero((struct bytes){fake.bank[0].pcr[8], HASH_MAX_SIZE}));
    for (unsigned pcr = 10; pcr <= 15; pcr++)
        assert_false(bytes_all_zero((struct bytes){fake.bank[0].pcr[pcr], HASH_MAX_SIZE}));
    assert_int_equal(fence_ensure_all(tpm, "test", &err), MU_OK);
    assert_false(any_open());
    for (size_t i = 0; i < fake.banks; i++)
        fake.bank[i].mask = 0xff;
    assert_int_equal(fence_ensure_all(tpm, "test", &err), MU_CONFIG);
}
