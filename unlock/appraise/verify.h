/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_VERIFY_H
#define MU_APPRAISE_VERIFY_H

#include "appraise/chain_cache.h"
#include "appraise/instance_identity.h"
#include "attest/document.h"
#include "base/json.h"

/* A document may be this much ahead of the verifier's clock: AWS backdates its certificates by
 * three seconds, so with more the chain would not be valid either. */
#define VERIFY_CLOCK_ALLOWANCE_MS 5000

/* What the document must satisfy. Zero or NULL means "not asked for" if the comment says so. */
struct verify_policy {
    struct bytes root;  /* the trusted root in PEM; data NULL: AWS's */
    uint64_t at_ms;     /* the time for which it is verified, milliseconds since 1970 */
    bool at_own_time;   /* the document's own timestamp instead */
    uint64_t max_age_s; /* how old it may be at that time; 0: not asked for */
    struct bytes nonce; /* what it must carry; data NULL: not asked for */
    const struct pcr_values *baseline;        /* SHA-384; NULL: not asked for */
    const struct identity_evidence *identity; /* which instance it is; NULL: not asked for */
    /* A check that was not asked for is an error, except the checks of `identity`. */
    bool require_all;
    struct chain_cache *cache; /* if many are verified; NULL: none */
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
    struct identity_facts identity;  /* empty if not asked for, or not readable */
    int64_t valid_from, valid_until; /* the leaf's, seconds since 1970; 0 if it has none */
};

/* "ok", "failed", "not-done" */
const char *verify_result_name(enum verify_result result);

/* The document's PCRs, without those above 23, which no baseline can name. */
void verify_pcrs(const struct document *document, struct pcr_values *ret);

/* Makes every check, whatever the results of the others. MU_OK: none failed (with require_all: each
 * was done); MU_REFUSE names the first that did not pass. *ret is set in both cases. MU_CONFIG: the
 * policy itself is unusable. Does no I/O, and does not read the clock. */
enum mu_status verify_document(const struct document *document, const struct verify_policy *policy,
                               struct verify_report *ret, struct mu_error *err) MU_MUST_CHECK;

/* The same from the bytes. If they are not a document, CHECK_STRUCTURE has failed, no other check
 * is done, and *ret_document is untouched. */
enum mu_status verify_bytes(struct bytes raw, const struct verify_policy *policy,
                            struct document *ret_document, struct verify_report *ret,
                            struct mu_error *err) MU_MUST_CHECK;

/* "checks": [{"name", "result", "detail"}, ...]. False: out of memory. */
bool verify_add_checks(json_object *object, const struct verify_report *report);

#endif
