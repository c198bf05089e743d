/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TPM_INTERNAL_H
#define MU_TPM_INTERNAL_H

#include <tss2/tss2_esys.h>

#include "base/retry.h"
#include "tpm/tpm.h"

#define TPM_MANAGED_PATH "/dev/tpmrm0" /* the kernel's resource manager */
#define TPM_DIRECT_PATH "/dev/tpm0"    /* the TPM itself, for one opener at a time */
#define TPM_DEVICE "device:"
#define TPM_SWTPM "swtpm:"

/* Makes a TCTI for "device:PATH" or "swtpm:..."; tests have their own. */
typedef enum mu_status tpm_connect(const char *where, TSS2_TCTI_CONTEXT **ret,
                                   struct mu_error *err);

struct tpm {
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys; /* NULL while there is no connection */
    char *where;
    const char *managed_path; /* set while talking through the resource manager */
    bool lost;                /* a connection was lost, with whatever it had loaded into the TPM */
    struct deadline deadline;
    tpm_connect *connect;
};

enum mu_status tpm_open_with(tpm_connect *connect, const char *where, struct deadline deadline,
                             struct tpm **ret, struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* From the resource manager to the device itself, never both at the same time. On failure the
 * resource manager is used again. */
enum mu_status tpm_go_direct(struct tpm *tpm, struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* The response code of an Esys call. While the TPM asks for it, the call is made again after a
 * pause: the expression is evaluated once for each attempt. If the transport failed, a new
 * connection is made for later commands (every ESYS_TR is lost then). */
#define TPM_CALL(tpm, call)                                                                        \
    ({                                                                                             \
        struct retry retry_ = tpm_retry(tpm);                                                      \
        TSS2_RC call_rc_;                                                                          \
                                                                                                   \
        do                                                                                         \
            call_rc_ = (call);                                                                     \
        while (tpm_again((tpm), call_rc_, &retry_));                                               \
        call_rc_;                                                                                  \
    })
struct retry tpm_retry(const struct tpm *tpm) MU_NONNULL;
bool tpm_again(struct tpm *tpm, TSS2_RC rc, struct retry *retry) MU_NONNULL;

/* For MU_CLEANUP: what ESYS has allocated. */
void esys_free(void *pointer) MU_NONNULL;

/* The ESYS_TR of an NV index; the TPM's answer is TPM2_RC_HANDLE if there is none. */
TSS2_RC tpm_nv_find(struct tpm *tpm, uint32_t index, ESYS_TR *ret) MU_NONNULL;

/* The TPM's own code (TPM2_RC_...), whichever layer passed it on, without the number of the handle,
 * session or parameter (TPM 2.0 Part 2, 6.6.3); 0 if it does not come from the TPM. */
TSS2_RC tpm_rc_base(TSS2_RC rc);

/* Fails with the class of the response code and the text "what: text". */
enum mu_status tpm_fail(struct mu_error *err, TSS2_RC rc, const char *what) MU_NONNULL;
/* The same unless the code is TSS2_RC_SUCCESS. */
enum mu_status tpm_check(struct mu_error *err, TSS2_RC rc, const char *what) MU_NONNULL;

void tpm_reconnect(struct tpm *tpm) MU_NONNULL;

/* TPM2_GetCapability (TPM 2.0 Part 3, 30.2): `count` entries from `first` on, to be freed by
 * Esys_Free(). ret_more, may be NULL: whether the TPM has more of them. */
struct tpm_capability {
    TPM2_CAP capability;
    uint32_t first, count;
    const char *what; /* for the message */
};
enum mu_status tpm_get_capability(struct tpm *tpm, const struct tpm_capability *wanted,
                                  TPMI_YES_NO *ret_more, TPMS_CAPABILITY_DATA **ret,
                                  struct mu_error *err) MU_MUST_CHECK MU_NONNULL_AT(1, 2, 4, 5);

/* One value of TPM2_CAP_TPM_PROPERTIES; 0 if the TPM does not report it. */
enum mu_status tpm_property(struct tpm *tpm, TPM2_PT property, uint32_t *ret,
                            struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* tpm_pcr_read() for PCRs that tpm_banks() has just listed. */
enum mu_status tpm_pcr_read_allocated(struct tpm *tpm, enum hash_alg bank, uint32_t mask,
                                      struct pcr_values *ret,
                                      struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* A response: its code, and the bytes after the header (TPM 2.0 Part 1, 18.5). */
struct tpm_response {
    TSS2_RC rc;
    size_t len;
    uint8_t body[4096];
};

/* Sends a command as bytes: for a command that ESYS does not know, or whose response needs careful
 * reading (tpm2-tss bounds its reading by its buffer, not by the response). */
enum mu_status tpm_transceive(struct tpm *tpm, struct bytes command, const char *what,
                              struct tpm_response *ret,
                              struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

#endif
