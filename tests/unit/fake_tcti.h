/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TESTS_FAKE_TCTI_H
#define MU_TESTS_FAKE_TCTI_H

#include <tss2/tss2_tcti.h>

#include "tpm/tpm.h"

/* A TPM in memory that knows the commands measured-unlock sends (PCRs, NV indexes, the NitroTPM
 * request), and goes wrong on demand. Zero-initialise, fill in what is of interest. */

#define FAKE_NV_MAX 72
#define FAKE_FAULTS_MAX 8
#define FAKE_LOG_MAX 512

enum fake_fault_kind {
    FAKE_RC,        /* the TPM answers with `rc`, and does not do it */
    FAKE_TRANSMIT,  /* the transport fails with `rc` on the way there */
    FAKE_RECEIVE,   /* ... on the way back: the command was carried out */
    FAKE_TRUNCATE,  /* the response is `value` bytes long, and says so */
    FAKE_FLIP,      /* bit 0 of response byte `value` is flipped */
    FAKE_FORGET,    /* the TPM says success, and does not do it (PCR_Event) */
    FAKE_SKIP_BANK, /* PCR_Event leaves out bank number `value` */
    FAKE_MOVE_PCRS, /* the update counter moves afterwards */
};

struct fake_fault {
    uint32_t command; /* TPM_CC */
    enum fake_fault_kind kind;
    uint32_t rc;
    size_t value;
    unsigned skip;  /* so many of these commands go well first */
    unsigned count; /* then so many go wrong; 0 is for ever */
};

struct fake_nv {
    bool used;
    uint8_t public_area[256]; /* TPMS_NV_PUBLIC, marshalled */
    size_t public_len;
    uint32_t index;
    uint8_t auth[64];
    size_t auth_len;
    uint8_t data[8192];
};

struct fake_bank {
    uint16_t alg;
    uint32_t mask;
    uint8_t pcr[PCR_COUNT][HASH_MAX_SIZE];
};

struct fake_tpm {
    size_t banks;
    struct fake_bank bank[10];
    uint32_t update_counter;
    struct fake_nv nv[FAKE_NV_MAX];
    uint32_t nv_chunk;       /* TPM2_PT_NV_BUFFER_MAX; 0: not reported */
    struct bytes nsm_answer; /* data == NULL: no NitroTPM */
    bool manager_rejects;    /* the vendor command gets the kernel's 0x000b0143 */
    size_t faults;
    struct fake_fault fault[FAKE_FAULTS_MAX];
    size_t commands; /* every command code in order */
    uint32_t log[FAKE_LOG_MAX];
    uint8_t request[8192]; /* the NV data at the last vendor command */
    unsigned connections;  /* TCTIs alive */
};

/* PCR banks with all 24 PCRs, zero: SHA-1, SHA-256 and SHA-384. */
void fake_tpm_usual(struct fake_tpm *tpm);
void fake_tpm_fault(struct fake_tpm *tpm, struct fake_fault fault);
unsigned fake_tpm_count(const struct fake_tpm *tpm, uint32_t command);
size_t fake_tpm_indexes(const struct fake_tpm *tpm);

/* One connection to it, from malloc: Tss2_Tcti_Finalize and free. */
TSS2_TCTI_CONTEXT *fake_tcti_new(struct fake_tpm *tpm);
/* struct tpm over it; one such TPM at a time, since it is also found again after a failure. */
struct tpm *fake_open(struct fake_tpm *tpm);

#endif
