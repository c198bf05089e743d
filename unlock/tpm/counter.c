/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tpm/counter.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tpm/internal.h"

#define COUNTER_SIZE 8u
/* By the counter's own authorisation, which is empty: neither the owner's password nor the
 * dictionary-attack lockout stands between a boot and its policy. */
#define ATTRIBUTES                                                                                 \
    (TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE | TPMA_NV_NO_DA |                                        \
     ((uint32_t)TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT))
#define RAISE_MAX 10000u /* each step is a write to NV memory */

bool tpm_counter_index(const char *text, uint32_t *ret)
{
    if (strlen(text) != 10 || strncmp(text, "0x", 2) != 0 ||
        strspn(text + 2, "0123456789abcdef") != 8)
        return false;
    *ret = (uint32_t)strtoul(text, NULL, 16);
    return *ret >= TPM_COUNTER_FIRST && *ret <= TPM_COUNTER_LAST;
}

enum mu_status tpm_counter_name(uint32_t index, uint8_t ret[static SEAL_NAME_SIZE],
                                struct mu_error *err)
{
    uint8_t area[32];
    struct writer w = writer_into(area, sizeof(area));
    struct digest digest;

    writer_be32(&w, index);
    writer_be16(&w, TPM2_ALG_SHA256);
    writer_be32(&w, ATTRIBUTES | TPMA_NV_WRITTEN);
    writer_be16(&w, 0); /* no policy */
    writer_be16(&w, COUNTER_SIZE);
    if (w.failed)
        return mu_fail(err, MU_INTERNAL, "the public area of a counter");
    MU_TRY(hash_bytes(HASH_SHA256, (struct bytes){area, w.len}, &digest, err));
    w = writer_into(ret, SEAL_NAME_SIZE);
    writer_be16(&w, TPM2_ALG_SHA256);
    writer_bytes(&w, (struct bytes){digest.bytes, hash_size(HASH_SHA256)});
    return MU_OK;
}

/* ESYS_TR_NONE: the index is free. */
static enum mu_status find(struct tpm *tpm, uint32_t index, ESYS_TR *ret, struct mu_error *err)
{
    TSS2_RC rc;

    *ret = ESYS_TR_NONE;
    rc = tpm_nv_find(tpm, index, ret);
    if (rc == TSS2_RC_SUCCESS || tpm_rc_base(rc) == TPM2_RC_HANDLE)
        return MU_OK;
    return tpm_fail(err, rc, "look for the counter");
}

static enum mu_status check(struct tpm *tpm, uint32_t index, ESYS_TR nv, bool *ret_written,
                            struct mu_error *err)
{
    MU_CLEANUP(esys_free) TPM2B_NV_PUBLIC *public_area = NULL;
    const TPMS_NV_PUBLIC *p;

    MU_TRY(tpm_check(err,
                     TPM_CALL(tpm, Esys_NV_ReadPublic(tpm->esys, nv, ESYS_TR_NONE, ESYS_TR_NONE,
                                                      ESYS_TR_NONE, &public_area, NULL)),
                     "look at the counter"));
    p = &public_area->nvPublic;
    *ret_written = (p->attributes & TPMA_NV_WRITTEN) != 0;
    if (p->nvIndex == index && p->nameAlg == TPM2_ALG_SHA256 && p->authPolicy.size == 0 &&
        p->dataSize == COUNTER_SIZE && (p->attributes & ~TPMA_NV_WRITTEN) == ATTRIBUTES)
        return MU_OK;
    return mu_fail(err, MU_CONFIG,
                   "TPM: the NV index 0x%08x is not a counter of ours: take "
                   "another index, or remove it (tpm2_nvundefine)",
                   index);
}

static enum mu_status increment(struct tpm *tpm, ESYS_TR nv, struct mu_error *err)
{
    return tpm_check(err,
                     TPM_CALL(tpm, Esys_NV_Increment(tpm->esys, nv, nv, ESYS_TR_PASSWORD,
                                                     ESYS_TR_NONE, ESYS_TR_NONE)),
                     "raise the counter");
}

static enum mu_status read_value(struct tpm *tpm, ESYS_TR nv, uint64_t *ret, struct mu_error *err)
{
    MU_CLEANUP(esys_free) TPM2B_MAX_NV_BUFFER *data = NULL;
    struct reader r;
    TSS2_RC rc = TPM_CALL(tpm, Esys_NV_Read(tpm->esys, nv, nv, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                            ESYS_TR_NONE, COUNTER_SIZE, 0, &data));

    MU_TRY(tpm_check(err, rc, "read the counter"));
    r = reader_of((struct bytes){data->buffer, data->size});
    *ret = reader_be64(&r);
    if (r.failed || reader_left(&r) != 0)
        return mu_fail(err, MU_CONFIG, "TPM: a counter of %u bytes", data->size);
    return MU_OK;
}

static enum mu_status define(struct tpm *tpm, uint32_t index, ESYS_TR *ret, struct mu_error *err)
{
    static const TPM2B_AUTH no_auth;
    const TPM2B_NV_PUBLIC public_area = {.nvPublic = {.nvIndex = index,
                                                      .nameAlg = TPM2_ALG_SHA256,
                                                      .attributes = ATTRIBUTES,
                                                      .dataSize = COUNTER_SIZE}};

    return tpm_check(
        err,
        TPM_CALL(tpm, Esys_NV_DefineSpace(tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                          ESYS_TR_NONE, ESYS_TR_NONE, &no_auth, &public_area, ret)),
        "make a counter");
}

static enum mu_status open_counter(struct tpm *tpm, uint32_t index, bool make, ESYS_TR *ret,
                                   struct mu_error *err)
{
    bool written = false;

    MU_TRY(find(tpm, index, ret, err));
    if (*ret == ESYS_TR_NONE && !make)
        return mu_fail(err, MU_CONFIG, "TPM: there is no counter at 0x%08x", index);
    if (*ret == ESYS_TR_NONE)
        MU_TRY(define(tpm, index, ret, err));
    MU_TRY(check(tpm, index, *ret, &written, err));
    if (!written && !make)
        return mu_fail(err, MU_CONFIG, "TPM: the counter at 0x%08x was never used", index);
    /* Before that the index has neither a value nor its final Name. */
    return written ? MU_OK : increment(tpm, *ret, err);
}

struct counter {
    struct tpm *tpm;
    ESYS_TR nv;
};

static void close_counter(struct counter *counter)
{
    if (counter->nv != ESYS_TR_NONE && counter->tpm->esys != NULL)
        (void)Esys_TR_Close(counter->tpm->esys, &counter->nv);
}

static enum mu_status value_of(struct tpm *tpm, uint32_t index, bool make, uint64_t *ret,
                               struct mu_error *err)
{
    MU_CLEANUP(close_counter) struct counter counter = {tpm, ESYS_TR_NONE};

    MU_TRY(open_counter(tpm, index, make, &counter.nv, err));
    return read_value(tpm, counter.nv, ret, err);
}

enum mu_status tpm_counter_read(struct tpm *tpm, uint32_t index, uint64_t *ret,
                                struct mu_error *err)
{
    return value_of(tpm, index, false, ret, err);
}

enum mu_status tpm_counter_make(struct tpm *tpm, uint32_t index, uint64_t *ret,
                                struct mu_error *err)
{
    return value_of(tpm, index, true, ret, err);
}

static enum mu_status raise_to(struct tpm *tpm, ESYS_TR nv, uint64_t to, struct mu_error *err)
{
    uint64_t value = 0;

    MU_TRY(read_value(tpm, nv, &value, err));
    if (to > value && to - value > RAISE_MAX)
        return mu_fail(err, MU_CONFIG, "TPM: from %" PRIu64 " to %" PRIu64 " is too far to count",
                       value, to);
    for (; value < to; value++)
        MU_TRY(increment(tpm, nv, err));
    return MU_OK;
}

enum mu_status tpm_counter_raise(struct tpm *tpm, uint32_t index, uint64_t to, struct mu_error *err)
{
    MU_CLEANUP(close_counter) struct counter counter = {tpm, ESYS_TR_NONE};

    MU_TRY(open_counter(tpm, index, false, &counter.nv, err));
    return raise_to(tpm, counter.nv, to, err);
}
