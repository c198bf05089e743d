/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_ATTEST_VERIFY_H
#define MU_ATTEST_VERIFY_H

#include "attest/chain_cache.h"
#include "attest/document.h"
#include "attest/identity.h"

/* A document may be this much ahead of the verifier's clock: AWS backdates its certificates by
 * three seconds, so with more the chain would not hold either. */
#define VERIFY_CLOCK_ALLOWANCE_MS 5000

/* What the document must satisfy. Zero or NULL is "not asked for" where it says so. */
struct verify_policy {
    struct bytes root;  /* the trusted root in PEM; data NULL: AWS's */
    uint64_t at_ms;     /* the time for which it is verified, milliseconds since 1970 */
    bool at_own_time;   /* the document's own timestamp instead */
    uint64_t max_age_s; /* how old it may be at that time; 0: not asked for */
    struct bytes nonce; /* what it must carry; data NULL: not asked for */
    const struct pcr_values *baseline;        /* SHA-384; NULL: not asked for */
    const struct identity_evidence *identity; /* who the instance is; NULL: not asked for */
    /* What was not asked for is an error; but who the instance is must be asked by `identity`. */
    bool require_all;
    struct chain_cache *cache; /* for who verifies many; NULL: none */
};

enum verify_result {
    VERIFY_NOT_DONE,
    VERIFY_OK,
    VERIFY_FAILED,
};

enum verify_check_id {
    CHECK_STRUCTURE, /* document_parse: encoding, types, sizes, duplicates */
    CHECK_DIGEST,
    CHECK_FIELDS,
    CHECK_IDENTITY, /* module_id is that of a NitroTPM, and the certificate's */
    CHECK_ROOT,     /* the bundle begins with the trusted root */
    CHECK_CHAIN,
    CHECK_SIGNATURE,
    CHECK_TIME, /* made while the certificate was valid, and not in the future */
    CHECK_AGE,
    CHECK_NONCE,
    CHECK_BASELINE,
    CHECK_IDENTITY_SIGNATURE, /* of the instance identity document */
    CHECK_IDENTITY_INSTANCE,  /* which is about the same instance */
    VERIFY_CHECKS,
};

struct verify_check {
    const char *name;
    enum verify_result result;
    char detail[384];
};

struct verify_report {
    bool ok;
    struct verify_check check[VERIFY_CHECKS];
    uint64_t at_ms;
    char instance_id[24];            /* empty unless CHECK_IDENTITY is VERIFY_OK */
    struct identity_facts identity;  /* empty where not asked for, or not readable */
    int64_t valid_from, valid_until; /* the leaf's, seconds since 1970; 0 if it has none */
};

/* "ok", "failed", "not-done" */
const char *verify_result_name(enum verify_result result);

/* The document's PCRs, but those above 23, which no baseline can name. */
void verify_pcrs(const struct document *document, struct pcr_values *ret);

/* Every check, whatever the others say. MU_OK: none failed (with require_all: each was done);
 * MU_REFUSE names those that did not hold. *ret is set in both cases. MU_CONFIG: the policy itself
 * is unusable. Does no I/O, and asks for no time. */
enum mu_status verify_document(const struct document *document, const struct verify_policy *policy,
                               struct verify_report *ret, struct mu_error *err) MU_MUST_CHECK;

/* The same from the bytes. If they are no document, CHECK_STRUCTURE has failed, no other check is
 * done, and *ret_document is untouched. */
enum mu_status verify_bytes(struct bytes raw, const struct verify_policy *policy,
                            struct document *ret_document, struct verify_report *ret,
                            struct mu_error *err) MU_MUST_CHECK;

#endif
