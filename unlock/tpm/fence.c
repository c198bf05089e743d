/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tpm/fence.h"

#include <string.h>

#include "base/config.h"
#include "tpm/internal.h"

#define REASON_MAX 1024u
#define ENSURE_ATTEMPTS 3u
#define FENCE_PCRS (PCR_BIT(FENCE_LAST + 1) - PCR_BIT(FENCE_FIRST))

/* The fence PCR in every bank that has it. */
struct fence {
    unsigned pcr;
    size_t count;
    enum hash_alg alg[TPM_BANKS_MAX];
    struct digest value[TPM_BANKS_MAX];
};

static struct bytes whole(const struct digest *digest)
{
    return (struct bytes){digest->bytes, sizeof(digest->bytes)};
}

static enum mu_status read_fence(struct tpm *tpm, unsigned pcr, struct fence *ret,
                                 struct mu_error *err)
{
    struct fence fence = {.pcr = pcr};
    struct tpm_banks banks;

    MU_TRY(tpm_banks(tpm, &banks, err));
    for (size_t i = 0; i < banks.count; i++) {
        enum hash_alg alg = (enum hash_alg)banks.bank[i].alg;
        struct pcr_values values;

        if ((banks.bank[i].mask & PCR_BIT(pcr)) == 0)
            continue;
        MU_TRY(tpm_pcr_read_allocated(tpm, alg, PCR_BIT(pcr), &values, err));
        fence.alg[fence.count] = alg;
        fence.value[fence.count++] = values.value[pcr];
    }
    if (fence.count == 0)
        return mu_fail(err, MU_CONFIG, "TPM: the fence, PCR %u, is not allocated in any bank", pcr);
    *ret = fence;
    return MU_OK;
}

enum mu_status fence_require_bank(struct tpm *tpm, unsigned pcr, enum hash_alg bank,
                                  struct mu_error *err)
{
    struct tpm_banks banks;

    MU_TRY(tpm_banks(tpm, &banks, err));
    for (size_t i = 0; i < banks.count; i++)
        if (banks.bank[i].alg == bank && (banks.bank[i].mask & PCR_BIT(pcr)) != 0)
            return MU_OK;
    return mu_fail(err, MU_CONFIG, "TPM: the fence, PCR %u, is not allocated in bank %s", pcr,
                   hash_name(bank));
}

enum mu_status fence_check_open(struct tpm *tpm, unsigned pcr, struct mu_error *err)
{
    struct fence fence;

    MU_TRY(read_fence(tpm, pcr, &fence, err));
    for (size_t i = 0; i < fence.count; i++)
        if (!bytes_all_zero(whole(&fence.value[i])))
            return mu_fail(err, MU_REFUSE,
                           "the fence, PCR %u, was closed before in this boot (bank %s): reboot",
                           pcr, hash_name(fence.alg[i]));
    return MU_OK;
}

static enum mu_status expect(struct fence *fence, const struct bytes *items, size_t count,
                             struct mu_error *err)
{
    for (size_t i = 0; i < fence->count; i++) {
        if (hash_size(fence->alg[i]) == 0)
            continue;
        for (size_t j = 0; j < count; j++) {
            struct digest value;

            MU_TRY(hash_bytes(fence->alg[i], items[j], &value, err));
            MU_TRY(hash_extend(fence->alg[i], &fence->value[i], value.bytes, err));
        }
    }
    return MU_OK;
}

static enum mu_status extend_and_check(struct tpm *tpm, const struct fence *before,
                                       const struct fence *expected, const struct bytes *items,
                                       size_t count, struct mu_error *err)
{
    struct fence after;

    for (size_t i = 0; i < count; i++)
        MU_TRY(tpm_pcr_event(tpm, before->pcr, items[i], err));
    MU_TRY(read_fence(tpm, before->pcr, &after, err));
    if (after.count != before->count || memcmp(after.alg, before->alg, sizeof(after.alg)) != 0)
        return mu_fail(err, MU_REFUSE, "the TPM's PCR banks changed");
    for (size_t i = 0; i < after.count; i++) {
        bool same = bytes_equal(whole(&after.value[i]), whole(&expected->value[i]));

        /* Of an unknown algorithm one can only tell that the value changed. */
        if (same != (hash_size(after.alg[i]) != 0))
            return mu_fail(err, MU_REFUSE, "bank %s does not hold what was extended",
                           hash_name(after.alg[i]));
    }
    return MU_OK;
}

enum mu_status fence_close(struct tpm *tpm, unsigned pcr, const struct bytes *items, size_t count,
                           struct mu_error *err)
{
    struct fence before, expected;

    if (count == 0)
        return mu_fail(err, MU_INTERNAL, "nothing to close the fence with");
    MU_TRY(read_fence(tpm, pcr, &before, err));
    expected = before;
    MU_TRY(expect(&expected, items, count, err));
    if (extend_and_check(tpm, &before, &expected, items, count, err) == MU_OK)
        return MU_OK;
    /* It may be closed by half: whatever the cause was, this can't be tried again in this boot. */
    err->status = MU_REFUSE;
    return mu_context(err, "the fence, PCR %u, could not be closed", pcr);
}

static bool closed(const struct fence *fence)
{
    for (size_t i = 0; i < fence->count; i++)
        if (bytes_all_zero(whole(&fence->value[i])))
            return false;
    return true;
}

static enum mu_status ensure_once(struct tpm *tpm, unsigned pcr, struct bytes item,
                                  struct mu_error *err)
{
    struct fence fence;

    MU_TRY(read_fence(tpm, pcr, &fence, err));
    if (closed(&fence))
        return MU_OK;
    MU_TRY(tpm_pcr_event(tpm, pcr, item, err));
    MU_TRY(read_fence(tpm, pcr, &fence, err));
    if (!closed(&fence))
        return mu_fail(err, MU_REFUSE,
                       "the fence, PCR %u, still holds its initial value after it was extended",
                       pcr);
    return MU_OK;
}

enum mu_status fence_ensure(struct tpm *tpm, unsigned pcr, const char *reason, struct mu_error *err)
{
    const char *text = reason != NULL && reason[0] != '\0' ? reason : "measured-unlock: refused";
    struct bytes item = {(const uint8_t *)text, strnlen(text, REASON_MAX)};
    enum mu_status status = MU_INTERNAL;

    for (unsigned i = 0; i < ENSURE_ATTEMPTS && status != MU_OK; i++)
        status = ensure_once(tpm, pcr, item, err);
    return status;
}

enum mu_status fence_ensure_all(struct tpm *tpm, const char *reason, struct mu_error *err)
{
    enum mu_status first = MU_OK;
    uint32_t allocated = 0;
    struct tpm_banks banks;

    MU_TRY(tpm_banks(tpm, &banks, err));
    for (size_t i = 0; i < banks.count; i++)
        allocated |= banks.bank[i].mask;
    if ((allocated & FENCE_PCRS) == 0)
        return mu_fail(err, MU_CONFIG, "TPM: no PCR that can be the fence is allocated");
    for (unsigned pcr = FENCE_FIRST; pcr <= FENCE_LAST; pcr++) {
        struct mu_error this_error = {0};

        if ((allocated & PCR_BIT(pcr)) == 0 ||
            fence_ensure(tpm, pcr, reason, &this_error) == MU_OK || first != MU_OK)
            continue;
        first = this_error.status;
        *err = this_error;
    }
    return first;
}
