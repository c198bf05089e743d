/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "appraise/chain.h"
#include "appraise/cose.h"
#include "appraise/root.h"
#include "measure/baseline.h"

struct verification {
    const struct document *document;
    const struct verify_policy *policy;
    X509 *root;
    X509 *leaf; /* NULL if invalid; leaf_error says why */
    struct mu_error leaf_error;
    uint64_t at_ms;
    struct verify_report *report;
};

/* MU_OK: check->result, which is VERIFY_OK unless the function says VERIFY_NOT_DONE, and its detail
 * hold. MU_REFUSE: the check failed. Another class ends the verification. */
typedef enum mu_status check_function(struct verification *v, struct verify_check *check,
                                      struct mu_error *err);

static void say(struct verify_check *check, const char *format, ...) MU_PRINTF(2, 3);

static void say(struct verify_check *check, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(check->detail, sizeof(check->detail), format, arguments);
    va_end(arguments);
}

static enum mu_status not_asked(struct verify_check *check)
{
    check->result = VERIFY_NOT_DONE;
    say(check, "not asked for");
    return MU_OK;
}

static enum mu_status need_leaf(const struct verification *v, struct mu_error *err)
{
    if (v->leaf == NULL)
        *err = v->leaf_error;
    return v->leaf == NULL ? MU_REFUSE : MU_OK;
}

/* document_parse has done this and the next two. */
static enum mu_status check_structure(struct verification *v, struct verify_check *check,
                                      struct mu_error *err)
{
    (void)err;
    say(check, "COSE_Sign1 with ES384, %zu bytes", v->document->raw.len);
    return MU_OK;
}

static enum mu_status check_digest(struct verification *v, struct verify_check *check,
                                   struct mu_error *err)
{
    (void)v;
    (void)err;
    say(check, "SHA384");
    return MU_OK;
}

static enum mu_status check_fields(struct verification *v, struct verify_check *check,
                                   struct mu_error *err)
{
    (void)err;
    say(check, "%d PCRs, %zu certificates in cabundle, all fields within their limits",
        __builtin_popcount(v->document->pcr_mask), v->document->cabundle_count);
    return MU_OK;
}

static size_t hex_digits(const char *text)
{
    return strspn(text, "0123456789abcdef");
}

/* "i-" and 8 or 17 digits (EC2 User Guide, "Resource IDs"), "-tpm", 16 digits. Returns the length
 * of the instance id, 0 if this is not the module id of a NitroTPM. */
static size_t instance_id_length(const char *module_id)
{
    size_t digits;

    if (strncmp(module_id, "i-", 2) != 0)
        return 0;
    digits = hex_digits(module_id + 2);
    if ((digits != 8 && digits != 17) || strncmp(module_id + 2 + digits, "-tpm", 4) != 0)
        return 0;
    module_id += 2 + digits + 4;
    return hex_digits(module_id) == 16 && module_id[16] == '\0' ? 2 + digits : 0;
}

static enum mu_status check_identity(struct verification *v, struct verify_check *check,
                                     struct mu_error *err)
{
    const char *module_id = v->document->module_id;
    size_t len = instance_id_length(module_id), module_len = strlen(module_id);
    struct bytes name;

    if (len == 0)
        return mu_fail(err, MU_REFUSE, "module_id '%s' is not that of a NitroTPM (i-...-tpm...)",
                       module_id);
    MU_TRY(need_leaf(v, err));
    name = certificate_common_name(v->leaf);
    if (name.len <= module_len || memcmp(name.data, module_id, module_len) != 0 ||
        name.data[module_len] != '.')
        return mu_fail(err, MU_REFUSE, "the certificate is not that of module_id '%s'", module_id);
    memcpy(v->report->instance_id, module_id, len);
    v->report->instance_id[len] = '\0';
    say(check, "instance %s", v->report->instance_id);
    return MU_OK;
}

static enum mu_status check_root(struct verification *v, struct verify_check *check,
                                 struct mu_error *err)
{
    bool aws = v->policy->root.data == NULL;

    if (!certificate_is(v->root, v->document->cabundle[0]))
        return mu_fail(err, MU_REFUSE, "cabundle does not begin with %s",
                       aws ? "AWS's root certificate" : "the given root certificate");
    say(check, aws ? "AWS Nitro Enclaves Root-G1" : "the given root certificate");
    return MU_OK;
}

static enum mu_status check_chain(struct verification *v, struct verify_check *check,
                                  struct mu_error *err)
{
    const struct document *document = v->document;

    MU_TRY(need_leaf(v, err));
    MU_TRY(chain_verify(v->leaf, document->cabundle, document->cabundle_count, v->root,
                        (int64_t)(v->at_ms / 1000), v->policy->cache, err));
    say(check, "%zu certificates lead to the root", document->cabundle_count);
    return MU_OK;
}

static enum mu_status check_signature(struct verification *v, struct verify_check *check,
                                      struct mu_error *err)
{
    const struct document *document = v->document;
    EVP_PKEY *key;

    MU_TRY(need_leaf(v, err));
    key = X509_get0_pubkey(v->leaf);
    if (key == NULL)
        return mu_fail(err, MU_REFUSE, "the certificate's key cannot be read");
    MU_TRY(cose_verify_es384(key, document->protected_header, document->payload,
                             document->signature, err));
    say(check, "by the certificate's key");
    return MU_OK;
}

/* AWS's rules do not tie the timestamp to anything; without this a leaf key could sign any time. */
static enum mu_status check_time(struct verification *v, struct verify_check *check,
                                 struct mu_error *err)
{
    uint64_t made_ms = v->document->timestamp_ms;
    int64_t made_s = (int64_t)(made_ms / 1000);

    MU_TRY(need_leaf(v, err));
    MU_TRY(certificate_validity(v->leaf, &v->report->valid_from, &v->report->valid_until, err));
    if (made_s < v->report->valid_from || made_s > v->report->valid_until)
        return mu_fail(err, MU_REFUSE, "the document was not made while its certificate was valid");
    if (made_ms > v->at_ms && made_ms - v->at_ms > VERIFY_CLOCK_ALLOWANCE_MS)
        return mu_fail(err, MU_REFUSE, "the document is from the future, by %" PRIu64 " s",
                       (made_ms - v->at_ms) / 1000);
    if (v->policy->at_own_time)
        say(check, "verified at its own time, which does not show that it is fresh");
    else
        say(check, "made while its certificate was valid, and not in the future");
    return MU_OK;
}

static enum mu_status check_age(struct verification *v, struct verify_check *check,
                                struct mu_error *err)
{
    uint64_t made_ms = v->document->timestamp_ms;
    uint64_t age_ms = v->at_ms > made_ms ? v->at_ms - made_ms : 0;

    if (v->policy->max_age_s == 0)
        return not_asked(check);
    if (age_ms / 1000 > v->policy->max_age_s ||
        (age_ms / 1000 == v->policy->max_age_s && age_ms % 1000 != 0))
        return mu_fail(err, MU_REFUSE, "the document is %" PRIu64 ".%03u s old, at most %" PRIu64,
                       age_ms / 1000, (unsigned)(age_ms % 1000), v->policy->max_age_s);
    say(check, "%" PRIu64 ".%03u s, at most %" PRIu64, age_ms / 1000, (unsigned)(age_ms % 1000),
        v->policy->max_age_s);
    return MU_OK;
}

static enum mu_status check_nonce(struct verification *v, struct verify_check *check,
                                  struct mu_error *err)
{
    if (v->policy->nonce.data == NULL)
        return not_asked(check);
    if (v->document->nonce.data == NULL)
        return mu_fail(err, MU_REFUSE, "the document carries no nonce");
    if (!bytes_equal(v->document->nonce, v->policy->nonce))
        return mu_fail(err, MU_REFUSE, "the document carries another nonce");
    say(check, "the one asked for");
    return MU_OK;
}

void verify_pcrs(const struct document *document, struct pcr_values *ret)
{
    *ret = (struct pcr_values){.bank = HASH_SHA384,
                               .mask = document->pcr_mask & (PCR_BIT(PCR_COUNT) - 1)};
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        if ((ret->mask & PCR_BIT(pcr)) != 0)
            memcpy(ret->value[pcr].bytes, document->pcr[pcr].data, document->pcr[pcr].len);
}

static enum mu_status check_baseline(struct verification *v, struct verify_check *check,
                                     struct mu_error *err)
{
    const struct pcr_values *baseline = v->policy->baseline;
    struct pcr_values found;
    struct mu_error weak = {0};
    uint32_t differ;
    size_t len;

    if (baseline == NULL)
        return not_asked(check);
    verify_pcrs(v->document, &found);
    MU_TRY(baseline_compare(baseline, &found, &differ, err));
    say(check, "equal: PCR");
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        len = strlen(check->detail);
        if ((baseline->mask & PCR_BIT(pcr)) != 0)
            (void)snprintf(check->detail + len, sizeof(check->detail) - len, " %u", pcr);
    }
    len = strlen(check->detail);
    if (baseline_check_complete(baseline, PCR_COUNT, &weak) != MU_OK)
        (void)snprintf(check->detail + len, sizeof(check->detail) - len, "; but %.200s", weak.text);
    return MU_OK;
}

static enum mu_status check_identity_signature(struct verification *v, struct verify_check *check,
                                               struct mu_error *err)
{
    const struct identity_evidence *evidence = v->policy->identity;
    int bits = 0;

    if (evidence == NULL)
        return not_asked(check);
    MU_TRY(identity_read(evidence, &v->report->identity, err));
    MU_TRY(identity_verify(evidence, (int64_t)(v->at_ms / 1000), &bits, err));
    say(check, "RSA-%d, by a certificate for region %s", bits, v->report->identity.region);
    return MU_OK;
}

/* The certificate's name is the module id, the region and "aws". Its region counts, so that the key
 * for identity documents of one region cannot sign for instances of another. */
static enum mu_status check_identity_instance(struct verification *v, struct verify_check *check,
                                              struct mu_error *err)
{
    const struct identity_facts *facts = &v->report->identity;
    size_t module_len = strlen(v->document->module_id), len = strlen(facts->region);
    struct bytes name;

    if (v->policy->identity == NULL)
        return not_asked(check);
    if (facts->instance_id[0] == '\0')
        return mu_fail(err, MU_REFUSE, "the identity document cannot be read");
    if (v->report->instance_id[0] == '\0')
        return mu_fail(err, MU_REFUSE, "the attestation document does not show which instance");
    if (strcmp(facts->instance_id, v->report->instance_id) != 0)
        return mu_fail(err, MU_REFUSE,
                       "the identity document is that of %s, the attestation document that of %s",
                       facts->instance_id, v->report->instance_id);
    name = certificate_common_name(v->leaf);
    if (name.len <= module_len + 1 + len ||
        memcmp(name.data + module_len + 1, facts->region, len) != 0 ||
        name.data[module_len + 1 + len] != '.')
        return mu_fail(err, MU_REFUSE,
                       "the identity document says region %s, the attestation's certificate "
                       "another",
                       facts->region);
    say(check, "%s of account %s in %s", facts->instance_id, facts->account, facts->region);
    return MU_OK;
}

static const struct {
    const char *name;
    check_function *run;
} checks[VERIFY_CHECKS] = {
    [CHECK_STRUCTURE] = {"structure", check_structure},
    [CHECK_DIGEST] = {"digest", check_digest},
    [CHECK_FIELDS] = {"fields", check_fields},
    [CHECK_IDENTITY] = {"identity", check_identity},
    [CHECK_ROOT] = {"root", check_root},
    [CHECK_CHAIN] = {"chain", check_chain},
    [CHECK_SIGNATURE] = {"signature", check_signature},
    [CHECK_TIME] = {"time", check_time},
    [CHECK_AGE] = {"age", check_age},
    [CHECK_NONCE] = {"nonce", check_nonce},
    [CHECK_BASELINE] = {"baseline", check_baseline},
    [CHECK_IDENTITY_SIGNATURE] = {"identity-signature", check_identity_signature},
    [CHECK_IDENTITY_INSTANCE] = {"identity-instance", check_identity_instance},
};

const char *verify_result_name(enum verify_result result)
{
    static const char *const names[] = {
        [VERIFY_NOT_DONE] = "not-done", [VERIFY_OK] = "ok", [VERIFY_FAILED] = "failed"};

    return names[result];
}

static struct verify_report empty_report(void)
{
    struct verify_report report = {0};

    for (size_t i = 0; i < VERIFY_CHECKS; i++)
        report.check[i].name = checks[i].name;
    return report;
}

static enum mu_status run_check(struct verification *v, size_t i, struct mu_error *err)
{
    struct verify_check *check = &v->report->check[i];
    enum mu_status status;

    check->result = VERIFY_OK;
    status = checks[i].run(v, check, err);
    if (status != MU_REFUSE)
        return status;
    check->result = VERIFY_FAILED;
    say(check, "%.*s", (int)sizeof(check->detail) - 1, err->text);
    return MU_OK;
}

/* The message names the first failure; the report has the others. */
static enum mu_status conclude(struct verify_report *report, bool require_all, struct mu_error *err)
{
    for (size_t i = 0; i < VERIFY_CHECKS; i++) {
        const struct verify_check *check = &report->check[i];

        if (check->result == VERIFY_FAILED)
            return mu_fail(err, MU_REFUSE, "%s: %s", check->name, check->detail);
    }
    for (size_t i = 0; i < CHECK_IDENTITY_SIGNATURE && require_all; i++) {
        const struct verify_check *check = &report->check[i];

        if (check->result != VERIFY_OK)
            return mu_fail(err, MU_REFUSE, "%s: not checked, and every check is required",
                           check->name);
    }
    report->ok = true;
    return MU_OK;
}

static void free_certificates(struct verification *v)
{
    certificate_free(&v->root);
    certificate_free(&v->leaf);
}

static enum mu_status load_root(const struct verify_policy *policy, X509 **ret,
                                struct mu_error *err)
{
    struct bytes aws = {(const uint8_t *)aws_nitro_root, strlen(aws_nitro_root)};

    return certificate_from_pem(policy->root.data != NULL ? policy->root : aws, "root", ret, err);
}

enum mu_status verify_document(const struct document *document, const struct verify_policy *policy,
                               struct verify_report *ret, struct mu_error *err)
{
    struct verify_report report = empty_report();
    MU_CLEANUP(free_certificates)
    struct verification v = {
        .document = document,
        .policy = policy,
        .at_ms = policy->at_own_time ? document->timestamp_ms : policy->at_ms,
        .report = &report,
    };
    enum mu_status status;

    if (policy->baseline != NULL && policy->baseline->bank != HASH_SHA384)
        return mu_fail(err, MU_CONFIG, "a document has sha384 PCRs, the baseline %s",
                       hash_name(policy->baseline->bank));
    MU_TRY(load_root(policy, &v.root, err));
    status = certificate_from_der(document->certificate, "certificate", &v.leaf, &v.leaf_error);
    if (status != MU_OK && status != MU_REFUSE)
        return status;
    report.at_ms = v.at_ms;
    for (size_t i = 0; i < VERIFY_CHECKS; i++)
        MU_TRY(run_check(&v, i, err));
    status = conclude(&report, policy->require_all, err);
    *ret = report;
    return status;
}

static void report_unreadable(const struct mu_error *why, uint64_t at_ms, struct verify_report *ret)
{
    *ret = empty_report();
    ret->at_ms = at_ms;
    for (size_t i = 0; i < VERIFY_CHECKS; i++)
        say(&ret->check[i], "the document cannot be read");
    ret->check[CHECK_STRUCTURE].result = VERIFY_FAILED;
    say(&ret->check[CHECK_STRUCTURE], "%.*s", (int)sizeof(ret->check[0].detail) - 1, why->text);
}

enum mu_status verify_bytes(struct bytes raw, const struct verify_policy *policy,
                            struct document *ret_document, struct verify_report *ret,
                            struct mu_error *err)
{
    MU_CLEANUP(document_free) struct document document = {0};
    enum mu_status status = document_parse(raw, &document, err);

    if (status == MU_REFUSE)
        report_unreadable(err, policy->at_own_time ? 0 : policy->at_ms, ret);
    if (status != MU_OK)
        return status;
    status = verify_document(&document, policy, ret, err);
    if (status == MU_OK || status == MU_REFUSE) {
        *ret_document = document;
        document.raw = (struct buffer){0};
    }
    return status;
}

bool verify_add_checks(json_object *object, const struct verify_report *report)
{
    json_object *list = json_object_new_array();

    if (!json_add(object, "checks", list))
        return false;
    for (size_t i = 0; i < VERIFY_CHECKS; i++) {
        const struct verify_check *check = &report->check[i];
        json_object *item = json_object_new_object();

        if (!json_append(list, item) || !json_add_text(item, "name", check->name) ||
            !json_add_text(item, "result", verify_result_name(check->result)) ||
            !json_add_text(item, "detail", check->detail))
            return false;
    }
    return true;
}
