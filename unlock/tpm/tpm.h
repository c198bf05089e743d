/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TPM_TPM_H
#define MU_TPM_TPM_H

#include "base/clock.h"
#include "tpm/hash.h"

#define PCR_COUNT 24
#define PCR_BIT(n) (1u << (n))
#define TPM_BANKS_MAX 8

struct tpm;

/* tcti NULL: /dev/tpmrm0, waiting for it to appear until the deadline; else "device:PATH" or
 * "swtpm:host=H,port=N". MU_RETRY if a given device is not there, MU_CONFIG if neither default
 * appeared. */
enum mu_status tpm_open(const char *tcti, struct deadline deadline, struct tpm **ret,
                        struct mu_error *err) MU_MUST_CHECK MU_NONNULL_AT(3, 4);
void tpm_close(struct tpm **tpm) MU_NONNULL;

/* The banks that hold PCRs (TPM 2.0 Part 2, 10.9.1, TPMS_PCR_SELECTION); mask 0 is "not allocated".
 */
struct tpm_bank {
    uint16_t alg; /* TPM_ALG_ID; may be one that hash.h does not know (SM3) */
    uint32_t mask;
};
struct tpm_banks {
    size_t count;
    struct tpm_bank bank[TPM_BANKS_MAX];
};
enum mu_status tpm_banks(struct tpm *tpm, struct tpm_banks *ret,
                         struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* One bank's values; value[n] is meaningful if bit n of mask is set. */
struct pcr_values {
    enum hash_alg bank;
    uint32_t mask;
    uint32_t without; /* of a baseline: what its author left out knowingly */
    struct digest value[PCR_COUNT];
};

/* Lower-case hex; "" if the PCR is not in the values. */
#define PCR_HEX_SIZE (2 * HASH_MAX_SIZE + 1)
void pcr_hex(const struct pcr_values *values, unsigned pcr, char ret[static PCR_HEX_SIZE]);
/* The PCRs that one of the two lacks, or that differ (in constant time); of a's bank. */
uint32_t pcr_differing(const struct pcr_values *a, const struct pcr_values *b) MU_NONNULL;

/* Reads all of mask, in as many commands as it takes, and reads again if the update counter moved
 * in between. MU_CONFIG if the bank or one of the PCRs is not allocated. */
enum mu_status tpm_pcr_read(struct tpm *tpm, enum hash_alg bank, uint32_t mask,
                            struct pcr_values *ret, struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* TPM2_PCR_Event: every allocated bank is extended with its own hash of data (1..1024 bytes). */
enum mu_status tpm_pcr_event(struct tpm *tpm, unsigned pcr, struct bytes data,
                             struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* NitroTPM's NSM request: writes the CBOR request to a fresh NV index, sends
 * TPM2_VENDOR_AWS_NSM_REQUEST (0x20000001), reads back one CBOR item and removes the index,
 * whatever happened. Indexes left behind by a crash of an earlier boot are recognised and removed
 * first. Falls back from /dev/tpmrm0 to /dev/tpm0 when the resource manager rejects the code.
 * MU_CONFIG: not a NitroTPM. */
enum mu_status tpm_nsm_request(struct tpm *tpm, struct bytes request, struct buffer *ret,
                               struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* *ret: TPM2_CAP_COMMANDS lists that command. Linux's resource manager passes on listed commands
 * only. */
enum mu_status tpm_nsm_listed(struct tpm *tpm, bool *ret,
                              struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* "AMZN", "IBM ", ... (TPM2_PT_MANUFACTURER), for doctor and messages. */
enum mu_status tpm_manufacturer(struct tpm *tpm, char ret[static 5],
                                struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

#endif
