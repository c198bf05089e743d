/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TPM_INTERNAL_H
#define MU_TPM_INTERNAL_H

#include <tss2/tss2_esys.h>

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
    bool lost;                /* a connection was, with whatever it had loaded into the TPM */
    struct deadline deadline;
    tpm_connect *connect;
};

enum mu_status tpm_open_with(tpm_connect *connect, const char *where, struct deadline deadline,
                             struct tpm **ret, struct mu_error *err) MU_MUST_CHECK;

/* From the resource manager to the device itself, never both at the same time. On failure the
 * resource manager is used again. */
enum mu_status tpm_go_direct(struct tpm *tpm, struct mu_error *err) MU_MUST_CHECK;

/* True, after a pause, if the TPM asked to be sent the command again:
 * `do rc = Esys_...; while (tpm_again(tpm, rc, &attempt));` with attempt = 0 before. Where the
 * transport failed, connects anew for the commands to come (every ESYS_TR is lost then). */
bool tpm_again(struct tpm *tpm, TSS2_RC rc, unsigned *attempt);

/* The TPM's own code (TPM2_RC_...), whichever layer passed it on, without the number of the handle,
 * session or parameter (TPM 2.0 Part 2, 6.6.3); 0 if it does not come from the TPM. */
TSS2_RC tpm_rc_base(TSS2_RC rc);

/* The error of a response code's class, "what: text". */
enum mu_status tpm_fail(struct mu_error *err, TSS2_RC rc, const char *what);

void tpm_reconnect(struct tpm *tpm);

/* TPM2_GetCapability (TPM 2.0 Part 3, 30.2): `count` entries from `first` on, to be freed by
 * Esys_Free(). ret_more, may be NULL: whether the TPM has more of them. */
struct tpm_capability {
    TPM2_CAP capability;
    uint32_t first, count;
    const char *what; /* for the message */
};
enum mu_status tpm_get_capability(struct tpm *tpm, const struct tpm_capability *wanted,
                                  TPMI_YES_NO *ret_more, TPMS_CAPABILITY_DATA **ret,
                                  struct mu_error *err) MU_MUST_CHECK;

/* One value of TPM2_CAP_TPM_PROPERTIES; 0 if the TPM does not report it. */
enum mu_status tpm_property(struct tpm *tpm, TPM2_PT property, uint32_t *ret,
                            struct mu_error *err) MU_MUST_CHECK;

/* tpm_pcr_read() for PCRs that tpm_banks() has just listed. */
enum mu_status tpm_pcr_read_allocated(struct tpm *tpm, enum hash_alg bank, uint32_t mask,
                                      struct pcr_values *ret, struct mu_error *err) MU_MUST_CHECK;

/* What came back: the code, and what follows the header (TPM 2.0 Part 1, 18.5). */
struct tpm_response {
    TSS2_RC rc;
    size_t len;
    uint8_t body[4096];
};

/* Sends a command as bytes: one that ESYS does not know, or whose answer is to be read with care
 * (tpm2-tss bounds its reading by its buffer, not by the response). */
enum mu_status tpm_transceive(struct tpm *tpm, struct bytes command, const char *what,
                              struct tpm_response *ret, struct mu_error *err) MU_MUST_CHECK;

#endif
