/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <tss2/tss2_rc.h>

#include "tpm/internal.h"

/* What a code means for the caller, and what a person can do about it. */
static const struct {
    TSS2_RC rc;
    enum mu_status status;
    const char *advice;
} meanings[] = {
    {TPM2_RC_RETRY, MU_RETRY, "the TPM is busy"},
    {TPM2_RC_YIELDED, MU_RETRY, "the TPM is busy"},
    {TPM2_RC_TESTING, MU_RETRY, "the TPM is testing itself"},
    {TPM2_RC_NV_RATE, MU_RETRY, "the TPM limits the rate of NV writes"},
    {TPM2_RC_NV_UNAVAILABLE, MU_RETRY, "the TPM's NV memory is not available"},
    {TPM2_RC_CANCELED, MU_RETRY, "the command was cancelled"},
    {TPM2_RC_OBJECT_MEMORY, MU_RETRY, "other programs fill the TPM's memory"},
    {TPM2_RC_SESSION_MEMORY, MU_RETRY, "other programs fill the TPM's memory"},
    {TPM2_RC_MEMORY, MU_RETRY, "other programs fill the TPM's memory"},
    {TPM2_RC_LOCKOUT, MU_RETRY,
     "too many wrong authorisations, so the TPM accepts none for a while (dictionary-attack "
     "lockout): wait, or reset it with tpm2_dictionarylockout -c"},
    {TPM2_RC_AUTH_FAIL, MU_REFUSE, "wrong authorisation value"},
    {TPM2_RC_BAD_AUTH, MU_REFUSE, "wrong authorisation value"},
    {TPM2_RC_AUTH_UNAVAILABLE, MU_REFUSE, "this authorisation is not allowed"},
    {TPM2_RC_AUTH_TYPE, MU_REFUSE, "this authorisation is not allowed"},
    {TPM2_RC_NV_AUTHORIZATION, MU_REFUSE, "this authorisation is not allowed"},
    {TPM2_RC_POLICY, MU_REFUSE, "the policy does not hold"},
    {TPM2_RC_POLICY_FAIL, MU_REFUSE, "the policy does not hold"},
    {TPM2_RC_POLICY_CC, MU_REFUSE, "the policy does not hold"},
    {TPM2_RC_PCR_CHANGED, MU_REFUSE, "a PCR changed meanwhile"},
    {TPM2_RC_INTEGRITY, MU_REFUSE,
     "made by another TPM, or by this one before it was cleared: enroll or seal again"},
    {TPM2_RC_SIGNATURE, MU_REFUSE, "the signature does not hold"},
    {TPM2_RC_LOCALITY, MU_REFUSE, "not allowed from this locality"},
    {TPM2_RC_INITIALIZE, MU_CONFIG,
     "the TPM was not started by the firmware: check that the machine boots by UEFI"},
    {TPM2_RC_REBOOT, MU_CONFIG, "the TPM needs a restart of the machine"},
    {TPM2_RC_FAILURE, MU_CONFIG, "the TPM is in failure mode: stop and start the machine"},
    {TPM2_RC_UPGRADE, MU_CONFIG, "the TPM is in the middle of a firmware upgrade"},
    {TPM2_RC_CURVE, MU_CONFIG, "this TPM does not know the key's curve: use P-256"},
    {TPM2_RC_DISABLED, MU_CONFIG, "the command is disabled"},
    {TPM2_RC_COMMAND_CODE, MU_CONFIG, "this TPM does not know the command"},
    {TPM2_RC_HIERARCHY, MU_CONFIG, "the hierarchy is disabled"},
    {TPM2_RC_NV_SPACE, MU_CONFIG,
     "the TPM's NV memory is full: remove unused indexes with tpm2_nvundefine"},
    {TPM2_RC_NV_SIZE, MU_CONFIG, "this TPM has no NV index of that size"},
};

TSS2_RC tpm_rc_base(TSS2_RC rc)
{
    TSS2_RC layer = rc & TSS2_RC_LAYER_MASK;
    TSS2_RC code = rc & 0xffffu;

    if (layer != TSS2_TPM_RC_LAYER && layer != TSS2_RESMGR_RC_LAYER &&
        layer != TSS2_RESMGR_TPM_RC_LAYER)
        return 0;
    return (code & TPM2_RC_FMT1) != 0 ? code & 0xbfu : code;
}

struct retry tpm_retry(const struct tpm *tpm)
{
    static const struct retry_policy policy = {.first_ms = 10, .longest_ms = 1000, .attempts = 16};

    return (struct retry){.policy = &policy, .deadline = tpm->deadline};
}

bool tpm_again(struct tpm *tpm, TSS2_RC rc, struct retry *retry)
{
    /* ESYS takes no further command after a failure that did not come from the TPM. */
    if (rc != TSS2_RC_SUCCESS && tpm_rc_base(rc) == 0)
        tpm_reconnect(tpm);
    switch (tpm_rc_base(rc)) {
    case TPM2_RC_RETRY:
    case TPM2_RC_YIELDED:
    case TPM2_RC_TESTING:
    case TPM2_RC_NV_RATE:
        return retry_pause(retry);
    default:
        return false;
    }
}

/* Codes of tpm2-tss itself: the transport, or a response that it could not read. */
static enum mu_status status_of_layer(TSS2_RC rc)
{
    if (rc == TSS2_TCTI_RC_GENERAL_FAILURE)
        return MU_RETRY;
    switch (rc & 0xffffu) {
    case TSS2_BASE_RC_NO_CONNECTION:
    case TSS2_BASE_RC_TRY_AGAIN:
    case TSS2_BASE_RC_IO_ERROR:
        return MU_RETRY;
    case TSS2_BASE_RC_MALFORMED_RESPONSE:
    case TSS2_BASE_RC_INSUFFICIENT_RESPONSE:
    case TSS2_BASE_RC_RSP_AUTH_FAILED:
        return MU_REFUSE;
    default:
        return (rc & TSS2_RC_LAYER_MASK) == TSS2_MU_RC_LAYER ? MU_REFUSE : MU_INTERNAL;
    }
}

enum mu_status tpm_fail(struct mu_error *err, TSS2_RC rc, const char *what)
{
    TSS2_RC base = tpm_rc_base(rc);

    for (size_t i = 0; base != 0 && i < MU_COUNT(meanings); i++)
        if (meanings[i].rc == base)
            return mu_fail(err, meanings[i].status, "TPM: %s: %s (0x%x)", what, meanings[i].advice,
                           rc);
    return mu_fail(err, base != 0 ? MU_INTERNAL : status_of_layer(rc), "TPM: %s: %s (0x%x)", what,
                   Tss2_RC_Decode(rc), rc);
}

enum mu_status tpm_check(struct mu_error *err, TSS2_RC rc, const char *what)
{
    return rc == TSS2_RC_SUCCESS ? MU_OK : tpm_fail(err, rc, what);
}
