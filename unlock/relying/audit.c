/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "base/defaults.h"
#include "base/file.h"
#include "base/time.h"
#include "fleet/cloudtrail.h"
#include "measure/baseline.h"
#include "policy/policy.h"
#include "relying/approvals.h"
#include "relying/relying.h"
#include "verifier/reference.h"

#define LOG_MAX_BYTES ((size_t)256 << 20)
#define BASELINES_MAX 64

/* Each is another way to the key than a measured boot, or an end of that way. */
static const struct {
    const char *call, *class, *why;
} administration[] = {
    {"PutKeyPolicy", "policy", "the key policy was replaced: compare it with --policy"},
    {"CreateGrant", "grant", "a grant lets its grantee use the key; it cannot demand a document"},
    {"ReplicateKey", "replica", "a replica has a key policy of its own"},
    {"ImportKeyMaterial", "material", "the importer of key material knows it"},
    {"DisableKey", "unusable", "no machine unlocks with a key that is disabled"},
    {"ScheduleKeyDeletion", "unusable", "every volume under this key is lost with it"},
};

/* What hands out plain text of or under the key. */
static const char *const use[] = {
    "Decrypt",
    "ReEncrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "DeriveSharedSecret",
};

struct audit {
    struct kms_filter keys;
    struct pcr_values baseline[BASELINES_MAX];
    size_t baselines;
    struct approvals approvals;
    json_object *findings;
    bool json;
    size_t calls, explained, refused, found;
};

static enum mu_status add_finding(struct audit *audit, const struct kms_call *call,
                                  const char *class, const char *why, struct mu_error *err)
{
    json_object *finding = json_object_new_object();

    audit->found++;
    if (!audit->json) {
        json_free(&finding);
        (void)printf("%s  %-9s %s by %s%s%s: %s\n", call->time, class, call->name, call->principal,
                     call->module_id[0] != '\0' ? ", " : "", call->module_id, why);
        return MU_OK;
    }
    if (!json_append(audit->findings, finding) || !json_add_text(finding, "class", class) ||
        !json_add_text(finding, "time", call->time) ||
        !json_add_text(finding, "call", call->name) ||
        !json_add_text(finding, "principal", call->principal) ||
        !json_add_text(finding, "module_id", call->module_id) ||
        !json_add_text(finding, "event_id", call->id) || !json_add_text(finding, "detail", why))
        return mu_oom(err);
    return MU_OK;
}

/* A baseline explains a call if all of it that the record has is equal, and that is something that
 * tells images apart. */
static bool explains(const struct pcr_values *baseline, const struct kms_call *call)
{
    uint32_t both = baseline->mask & call->shown.mask;
    struct pcr_values seen = *baseline;
    struct mu_error ignored;
    uint32_t differ;

    seen.mask = both;
    return ((both & PCR_BIT(4)) != 0 || baseline_has_secure_boot(&seen)) &&
           baseline_compare(&seen, &call->shown, &differ, &ignored) == MU_OK;
}

/* CloudTrail has whole seconds: a call in the second of an approval came after it. */
static enum mu_status audit_image(struct audit *audit, const struct kms_call *call,
                                  struct mu_error *err)
{
    const struct approvals *approvals = &audit->approvals;
    const struct approval_start *booted = NULL;
    uint64_t at_ms = 0;
    char why[256];

    (void)time_parse(call->time, &at_ms);
    for (size_t i = 0; i < approvals->starts; i++) {
        if (!explains(&approvals->start[i].values, call))
            continue;
        booted = &approvals->start[i];
        if (approvals_allow(approvals, booted, (int64_t)at_ms + 999)) {
            audit->explained++;
            return MU_OK;
        }
    }
    if (booted == NULL)
        return add_finding(audit, call, "image",
                           "its PCRs do not match any --baseline or approved image", err);
    (void)snprintf(why, sizeof(why), "it booted %s %s, which was not approved then",
                   booted->image->name, booted->image->version);
    return add_finding(audit, call, "image", why, err);
}

static enum mu_status audit_use(struct audit *audit, const struct kms_call *call,
                                struct mu_error *err)
{
    struct bytes fence = {call->shown.value[FENCE_DEFAULT].bytes, hash_size(HASH_SHA384)};

    if (!call->attested)
        return add_finding(audit, call, "unproven", "it came without a document", err);
    if ((call->shown.mask & PCR_BIT(FENCE_DEFAULT)) != 0 && !bytes_all_zero(fence))
        return add_finding(audit, call, "fence", "the fence was closed in that boot", err);
    for (size_t i = 0; i < audit->baselines; i++) {
        if (explains(&audit->baseline[i], call)) {
            audit->explained++;
            return MU_OK;
        }
    }
    return audit_image(audit, call, err);
}

static enum mu_status audit_record(json_object *record, void *context, struct mu_error *err)
{
    struct audit *audit = context;
    struct kms_call call;
    bool is_kms;

    MU_TRY(cloudtrail_kms_call(record, &audit->keys, &is_kms, &call, err));
    if (!is_kms)
        return MU_OK;
    audit->calls++;
    if (call.error[0] != '\0') {
        audit->refused++;
        return MU_OK;
    }
    for (size_t i = 0; i < MU_COUNT(use); i++)
        if (strcmp(call.name, use[i]) == 0)
            return audit_use(audit, &call, err);
    for (size_t i = 0; i < MU_COUNT(administration); i++)
        if (strcmp(call.name, administration[i].call) == 0)
            return add_finding(audit, &call, administration[i].class, administration[i].why, err);
    return MU_OK;
}

/* ---- the key policy ---- */

/* IAM reads one text as a list of one, and lists have no order. */
static bool same(json_object *a, json_object *b);

static bool list_has(json_object *list, json_object *item)
{
    for (size_t i = 0; i < json_object_array_length(list); i++)
        if (same(json_object_array_get_idx(list, i), item))
            return true;
    return false;
}

static bool same_lists(json_object *a, json_object *b)
{
    size_t count = json_object_array_length(a);

    if (count != json_object_array_length(b))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!list_has(a, json_object_array_get_idx(b, i)) ||
            !list_has(b, json_object_array_get_idx(a, i)))
            return false;
    return true;
}

static json_object *without_list(json_object *value)
{
    return json_object_is_type(value, json_type_array) && json_object_array_length(value) == 1
               ? json_object_array_get_idx(value, 0)
               : value;
}

static bool same(json_object *a, json_object *b)
{
    a = without_list(a);
    b = without_list(b);
    if (json_object_get_type(a) != json_object_get_type(b))
        return false;
    if (json_object_is_type(a, json_type_array))
        return same_lists(a, b);
    if (!json_object_is_type(a, json_type_object))
        return json_object_equal(a, b) != 0;
    if (json_object_object_length(a) != json_object_object_length(b))
        return false;
    json_object_object_foreach(a, name, value)
    {
        json_object *other;

        if (!json_object_object_get_ex(b, name, &other) || !same(value, other))
            return false;
    }
    return true;
}

static enum mu_status audit_policy(struct audit *audit, const char *written, const char *in_force,
                                   struct mu_error *err)
{
    static const struct kms_call no_call = {.time = "-",
                                            .name = "GetKeyPolicy",
                                            .principal = "-",
                                            .id = "",
                                            .error = "",
                                            .module_id = ""};
    MU_CLEANUP(json_free) json_object *a = NULL;
    MU_CLEANUP(json_free) json_object *b = NULL;

    if ((written == NULL) != (in_force == NULL))
        return mu_fail(err, MU_USAGE, "--policy and --in-force go together");
    if (written == NULL)
        return MU_OK;
    MU_TRY(policy_load(written, &a, err));
    MU_TRY(policy_load(in_force, &b, err));
    return same(a, b) ? MU_OK
                      : add_finding(audit, &no_call, "policy",
                                    "the key policy in force is not the one that was written", err);
}

/* ---- the verb ---- */

static enum mu_status read_log(const char *path, struct audit *audit, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer text = {0};

    MU_TRY(file_read(path, LOG_MAX_BYTES, &text, err));
    return cloudtrail_read(buffer_view(&text), path, audit_record, audit, err);
}

static bool add_numbers(json_object *report, const struct audit *audit)
{
    return json_add(report, "ok", json_object_new_boolean(audit->found == 0)) &&
           json_add(report, "calls", json_object_new_int64((int64_t)audit->calls)) &&
           json_add(report, "explained", json_object_new_int64((int64_t)audit->explained)) &&
           json_add(report, "refused", json_object_new_int64((int64_t)audit->refused));
}

static enum mu_status print_report(struct audit *audit, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *report = NULL;

    if (!audit->json) {
        (void)printf("%zu calls, %zu by a machine that booted a given image, %zu refused or "
                     "failed, %zu to look at\n",
                     audit->calls, audit->explained, audit->refused, audit->found);
        return MU_OK;
    }
    report = json_object_new_object();
    if (!add_numbers(report, audit) ||
        !json_add(report, "findings", json_object_get(audit->findings)))
        return mu_oom(err);
    return cli_print_json("-", report, err);
}

static void audit_free(struct audit *audit)
{
    approvals_free(&audit->approvals);
}

static enum mu_status run_audit(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *findings = json_object_new_array();
    const char *baselines[BASELINES_MAX], *policy = NULL, *in_force = NULL;
    const char *store = NULL, *builder_key = NULL;
    MU_CLEANUP(audit_free) struct audit audit = {.findings = findings};
    const struct cli_option options[] = {
        {"key", 'k', .text = audit.keys.key, .count = &audit.keys.count, .max = KMS_FILTER_MAX},
        {"baseline", 'b', .text = baselines, .count = &audit.baselines, .max = BASELINES_MAX},
        {"store", 's', .text = &store},
        {"builder-key", 0, .text = &builder_key},
        {"policy", 0, .text = &policy},
        {"in-force", 0, .text = &in_force},
        {"json", 'j', .flag = &audit.json},
        {0},
    };

    if (findings == NULL)
        return mu_oom(err);
    MU_TRY(cli_options(argc, argv, options, 0, 4096, err));
    if (optind == argc && policy == NULL)
        return mu_fail(err, MU_USAGE, "which log? FILE..., or - for standard input");
    if ((store == NULL) != (builder_key == NULL))
        return mu_fail(err, MU_USAGE, "--store and --builder-key go together");
    if (store != NULL)
        MU_TRY(approvals_load(store, builder_key, &audit.approvals, err));
    for (size_t i = 0; i < audit.baselines; i++)
        MU_TRY(reference_baseline_load(baselines[i], FENCE_DEFAULT, &audit.baseline[i], err));
    MU_TRY(audit_policy(&audit, policy, in_force, err));
    for (int i = optind; i < argc; i++)
        MU_TRY(read_log(argv[i], &audit, err));
    MU_TRY(print_report(&audit, err));
    if (audit.found > 0)
        return mu_fail(err, MU_REFUSE, "%zu to look at", audit.found);
    return MU_OK;
}

const struct verb verb_audit = {
    .name = "audit",
    .synopsis = "[--key ARN]... [--baseline FILE]... [OPTION...] FILE...",
    .summary = "who had the key according to CloudTrail, and was it a measured boot",
    .help =
        "  -k, --key ARN        only this key; again for each that a volume has\n"
        "  -b, --baseline FILE  what an image that may boot measures; again for each\n"
        "      --store STORE    the verifiers' store: a call must be by an image that was "
        "approved\n"
        "                       at that time, if one that the key in\n"
        "      --builder-key F  signed\n"
        "      --policy FILE    the key policy as it was written, and\n"
        "      --in-force FILE  as 'aws kms get-key-policy' prints it: a finding if they differ\n"
        "  -j, --json\n"
        "\n"
        "FILE is a log file of CloudTrail (zcat it), what 'aws cloudtrail lookup-events'\n"
        "prints, or has a record a line; - is standard input. To look at are: a use of the\n"
        "key without a document (unproven), by an image that is not given (image), after the\n"
        "fence was closed (fence); PutKeyPolicy, CreateGrant, ReplicateKey, ImportKeyMaterial,\n"
        "DisableKey and ScheduleKeyDeletion. Calls that KMS refused are counted.\n"
        "\n"
        "Exit code 2: there is something to look at. 4: a file that is not such a log.\n"
        "\n"
        "Example: zcat 111122223333_CloudTrail_*.json.gz | mu-verifier audit \\\n"
        "             --key arn:aws:kms:eu-west-1:111122223333:key/ID -b complete.json -\n",
    .run = run_audit,
};
