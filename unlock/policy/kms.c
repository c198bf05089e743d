/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/defaults.h"
#include "ctl/ctl.h"

#include <stdio.h>
#include <string.h>

#include "measure/baseline.h"
#include "policy/arn.h"
#include "policy/format.h"
#include "policy/policy.h"
#include "volume/record.h"

#define BASELINES_MAX 16
#define PCR_KEY "kms:RecipientAttestation:NitroTPMPCR"
#define CONTEXT_KEY "kms:EncryptionContext:"
#define CONTEXT_KEYS "kms:EncryptionContextKeys"

static const char help[] =
    "Writes a KMS key policy that is safe as it stands: Decrypt for the instance's role alone, "
    "with a\n"
    "document that shows the baseline and an open fence; administration without use; a Deny for\n"
    "everybody, the account's root included, who shows no document. Without --baseline and\n"
    "--principal it releases the key to nobody: for a key whose first image is to be built.\n"
    "\n"
    "  --baseline FILE        what the image measures; again for each image that may boot\n"
    "  --principal ARN        role of the instances; may be repeated\n"
    "  --admin ARN            role that may change this policy and delete the key; may be "
    "repeated\n"
    "  --builder ARN          role that runs 'muctl enroll': Encrypt, nothing else; may be "
    "repeated\n"
    "  --volume-uuid UUID     only for this volume; may be repeated\n"
    "  --context NAME=VALUE   the same for volume-uuid or volume-identity ('muctl record show')\n"
    "  --data-volumes         the instances may also make volumes of their own on blank devices\n"
    "                         ('create = blank'): GenerateDataKey, on the same conditions\n"
    "  --fence-pcr N          the fence PCR of the image's configuration (default 15)\n"
    "  --format FORMAT        json (the policy, default); a KMS key that has it, for "
    "cloudformation\n"
    "                         or terraform (JSON both)\n"
    "  -o, --output FILE      default standard output\n"
    "\n"
    "Example: muctl policy kms --baseline complete.json --principal "
    "arn:aws:iam::111122223333:role/web\n"
    "         --admin arn:aws:iam::111122223333:role/key-admin -o policy.json\n";

/* No CreateGrant, ReplicateKey, ImportKeyMaterial: each is another way to the key's use. */
static const char *const administration[] = {
    "kms:DescribeKey",          "kms:GetKeyPolicy",      "kms:ListKeyPolicies",
    "kms:PutKeyPolicy",         "kms:EnableKey",         "kms:DisableKey",
    "kms:GetKeyRotationStatus", "kms:EnableKeyRotation", "kms:DisableKeyRotation",
    "kms:ListGrants",           "kms:RevokeGrant",       "kms:ListResourceTags",
    "kms:TagResource",          "kms:UntagResource",     "kms:UpdateKeyDescription",
    "kms:CreateAlias",          "kms:UpdateAlias",       "kms:DeleteAlias",
    "kms:ScheduleKeyDeletion",  "kms:CancelKeyDeletion",
};

/* CreateGrant, ReEncrypt and ReplicateKey never come with a document: this is all of them. */
static const char *const use[] = {
    "kms:Decrypt",     "kms:ReEncrypt*",   "kms:GenerateDataKey*", "kms:DeriveSharedSecret",
    "kms:CreateGrant", "kms:ReplicateKey",
};

struct request {
    struct policy_names principals, admins, builders, uuids, identities;
    struct pcr_values baseline[BASELINES_MAX];
    size_t baselines;
    bool data_volumes;
    unsigned fence_pcr;
    const char *format, *output;
};

/* One value as it is, more as an array. */
static bool put_texts(json_object *object, const char *name, const char *const *texts, size_t count)
{
    json_object *array;

    if (count == 1)
        return json_add_text(object, name, texts[0]);
    array = json_object_new_array();
    for (size_t i = 0; array != NULL && i < count; i++) {
        if (!json_append(array, json_object_new_string(texts[i]))) {
            json_free(&array);
            return false;
        }
    }
    return json_add(object, name, array);
}

/* A new member object, borrowed; NULL is out of memory. */
static json_object *put_object(json_object *object, const char *name)
{
    json_object *member = json_object_new_object();

    return json_add(object, name, member) ? member : NULL;
}

/* A statement without Condition at the end of the list; NULL `who` is everybody. */
static json_object *add_statement(json_object *list, const char *sid, const char *effect,
                                  const struct policy_names *who, const char *const *actions,
                                  size_t count)
{
    json_object *statement = json_object_new_object();
    json_object *principal;

    if (!json_append(list, statement))
        return NULL;
    if (!json_add_text(statement, "Sid", sid) || !json_add_text(statement, "Effect", effect))
        return NULL;
    if (who == NULL) {
        if (!json_add_text(statement, "Principal", "*"))
            return NULL;
    } else {
        principal = put_object(statement, "Principal");
        if (principal == NULL || !put_texts(principal, "AWS", who->name, who->count))
            return NULL;
    }
    if (!put_texts(statement, "Action", actions, count) ||
        !json_add_text(statement, "Resource", "*"))
        return NULL;
    return statement;
}

/* The names that measured-unlock sends, no others, and the values that are known. Condition keys
 * ignore case, the values of EncryptionContextKeys do not. A ciphertext that an instance had made
 * says so; its volume cannot be known in advance. */
static bool put_context(json_object *equals, json_object *condition, const struct request *q,
                        bool by_instance)
{
    static const char *const names[] = {"volume-uuid", "volume-identity", "volume-name",
                                        "volume-geometry", "made-by"};
    const struct policy_names *const values[] = {&q->uuids, &q->identities};
    json_object *all = put_object(condition, "ForAllValues:StringEquals");
    json_object *null = put_object(condition, "Null");
    char key[64];

    if (all == NULL || null == NULL || !put_texts(all, CONTEXT_KEYS, names, by_instance ? 5 : 2) ||
        !json_add_text(null, CONTEXT_KEYS, "false") ||
        (by_instance && !json_add_text(equals, CONTEXT_KEY "made-by", "instance")))
        return false;
    for (size_t i = 0; i < (by_instance ? 4 : 2); i++) {
        (void)snprintf(key, sizeof(key), CONTEXT_KEY "%s", names[i]);
        if (by_instance || values[i]->count == 0
                ? !json_add_text(null, key, "false")
                : !put_texts(equals, key, values[i]->name, values[i]->count))
            return false;
    }
    return true;
}

static bool same_value(const struct pcr_values *a, const struct pcr_values *b, unsigned pcr)
{
    return memcmp(a->value[pcr].bytes, b->value[pcr].bytes, hash_size(a->bank)) == 0;
}

/* The values that a PCR has in `count` baselines, each once. */
static bool put_pcr(json_object *equals, const struct pcr_values *baseline, size_t count,
                    unsigned pcr)
{
    char text[BASELINES_MAX][POLICY_PCR_DIGITS + 1];
    const char *texts[BASELINES_MAX];
    size_t values = 0;
    char key[64];

    for (size_t i = 0; i < count; i++) {
        size_t known = 0;

        while (known < i && !same_value(&baseline[known], &baseline[i], pcr))
            known++;
        if (known < i)
            continue;
        hex_encode((struct bytes){baseline[i].value[pcr].bytes, POLICY_PCR_DIGITS / 2},
                   text[values]);
        texts[values] = text[values];
        values++;
    }
    (void)snprintf(key, sizeof(key), PCR_KEY "%u", pcr);
    return put_texts(equals, key, texts, values);
}

static bool add_release(json_object *list, const struct request *q,
                        const struct pcr_values *baseline, size_t count, bool by_instance,
                        const char *sid)
{
    static const char *const actions[] = {"kms:Decrypt", "kms:GenerateDataKey"};
    static const struct pcr_values zero = {.bank = HASH_SHA384};
    json_object *statement =
        add_statement(list, sid, "Allow", &q->principals, actions, by_instance ? 2 : 1);
    json_object *condition = statement != NULL ? put_object(statement, "Condition") : NULL;
    json_object *equals = condition != NULL ? put_object(condition, "StringEquals") : NULL;

    if (equals == NULL)
        return false;
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        if ((baseline->mask & PCR_BIT(pcr)) != 0 && !put_pcr(equals, baseline, count, pcr))
            return false;
        if (pcr == q->fence_pcr && !put_pcr(equals, &zero, 1, pcr))
            return false;
    }
    return put_context(equals, condition, q, by_instance);
}

static bool add_builder(json_object *list, const struct request *q)
{
    static const char *const encrypt[] = {"kms:Encrypt"};
    json_object *statement, *condition, *equals;

    if (q->builders.count == 0)
        return true;
    statement = add_statement(list, "EncryptForEnrolment", "Allow", &q->builders, encrypt, 1);
    condition = statement != NULL ? put_object(statement, "Condition") : NULL;
    equals = condition != NULL ? put_object(condition, "StringEquals") : NULL;
    if (equals == NULL || !put_context(equals, condition, q, false))
        return false;
    if (json_object_object_length(equals) == 0)
        json_object_object_del(condition, "StringEquals");
    return true;
}

static bool add_deny(json_object *list, const struct request *q)
{
    unsigned pcr = q->baselines == 0 || (q->baseline[0].mask & PCR_BIT(4)) != 0 ? 4 : 7;
    json_object *statement = add_statement(list, "RefuseWithoutDocument", "Deny", NULL, use,
                                           sizeof(use) / sizeof(use[0]));
    json_object *condition = statement != NULL ? put_object(statement, "Condition") : NULL;
    json_object *null = condition != NULL ? put_object(condition, "Null") : NULL;
    char key[64];

    (void)snprintf(key, sizeof(key), PCR_KEY "%u", pcr);
    return null != NULL && json_add_text(null, key, "true");
}

/* IAM takes each key of a condition by itself: with several values for two PCRs, the old PCR 4
 * with the new PCR 7 would do. So one condition holds several baselines only if they differ in
 * one PCR. */
static bool differ_in_one(const struct pcr_values *baseline, size_t count)
{
    uint32_t differ = 0;

    for (size_t i = 1; i < count; i++) {
        if (baseline[i].mask != baseline[0].mask)
            return false;
        for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
            if ((baseline[0].mask & PCR_BIT(pcr)) != 0 &&
                !same_value(&baseline[0], &baseline[i], pcr))
                differ |= PCR_BIT(pcr);
    }
    return (differ & (differ - 1)) == 0;
}

static bool add_releases(json_object *list, const struct request *q, bool by_instance,
                         const char *name)
{
    char sid[48];

    if (q->baselines == 0)
        return true;
    if (differ_in_one(q->baseline, q->baselines))
        return add_release(list, q, q->baseline, q->baselines, by_instance, name);
    for (size_t i = 0; i < q->baselines; i++) {
        (void)snprintf(sid, sizeof(sid), "%s%zu", name, i + 1);
        if (!add_release(list, q, &q->baseline[i], 1, by_instance, sid))
            return false;
    }
    return true;
}

/* Allows instances to make volumes of their own, and denies everybody else to make one for them,
 * whatever is added to the policy later: a ciphertext with made-by comes from GenerateDataKey
 * alone. */
static bool add_data_volumes(json_object *list, const struct request *q)
{
    static const char *const encrypt[] = {"kms:Encrypt"};
    json_object *statement, *condition, *null;

    if (!q->data_volumes)
        return true;
    statement = add_statement(list, "RefuseForgedVolumes", "Deny", NULL, encrypt, 1);
    condition = statement != NULL ? put_object(statement, "Condition") : NULL;
    null = condition != NULL ? put_object(condition, "Null") : NULL;
    return null != NULL && json_add_text(null, CONTEXT_KEY "made-by", "false") &&
           add_releases(list, q, true, "MakeAndReleaseDataVolumes");
}

static enum mu_status make_policy(const struct request *q, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *policy = json_object_new_object();
    json_object *list = json_object_new_array();

    if (policy == NULL || !json_add_text(policy, "Version", "2012-10-17") ||
        !json_add_text(policy, "Id", "measured-unlock")) {
        json_free(&list);
        return mu_oom(err);
    }
    if (!json_add(policy, "Statement", list) ||
        add_statement(list, "AdministerWithoutUse", "Allow", &q->admins, administration,
                      sizeof(administration) / sizeof(administration[0])) == NULL ||
        !add_builder(list, q) || !add_releases(list, q, false, "ReleaseToMeasuredBoot") ||
        !add_data_volumes(list, q) || !add_deny(list, q))
        return mu_oom(err);
    *ret = MU_TAKE(policy);
    return MU_OK;
}

static enum mu_status load_baselines(const struct policy_names *paths, struct request *q,
                                     struct mu_error *err)
{
    for (size_t i = 0; i < paths->count; i++) {
        struct pcr_values *values = &q->baseline[i];

        MU_TRY(baseline_load(paths->name[i], values, err));
        MU_TRY(policy_check_baseline(paths->name[i], q->fence_pcr, values, err));
    }
    q->baselines = paths->count;
    return MU_OK;
}

static enum mu_status take_context(struct request *q, const char *text, struct mu_error *err)
{
    if (strncmp(text, "volume-uuid=", 12) == 0)
        return policy_add_uuid(&q->uuids, text + 12, err);
    if (strncmp(text, "volume-identity=", 16) == 0)
        return policy_add_hex(&q->identities, text + 16, (size_t)2 * VOLUME_IDENTITY_SIZE, err);
    return mu_fail(err, MU_USAGE,
                   "--context '%.64s': measured-unlock sends volume-uuid=UUID and "
                   "volume-identity=HEX, nothing else",
                   text);
}

static enum mu_status take_option(struct request *q, struct policy_names *baselines, int option,
                                  struct mu_error *err)
{
    switch (option) {
    case 'b':
        return policy_add_name(baselines, "--baseline", optarg, err);
    case 'p':
        return policy_add_arn(&q->principals, "--principal", optarg, err);
    case 'a':
        return policy_add_arn(&q->admins, "--admin", optarg, err);
    case 'e':
        return policy_add_arn(&q->builders, "--builder", optarg, err);
    case 'u':
        return policy_add_uuid(&q->uuids, optarg, err);
    case 'c':
        return take_context(q, optarg, err);
    case 'd':
        q->data_volumes = true;
        return MU_OK;
    case 'F':
        q->format = optarg;
        return MU_OK;
    case 'f':
        return policy_fence_pcr(optarg, &q->fence_pcr, err);
    default:
        q->output = optarg;
        return MU_OK;
    }
}

static enum mu_status policy_kms_parse(int argc, char **argv, struct request *q,
                                       struct mu_error *err)
{
    static const struct option options[] = {{"baseline", required_argument, NULL, 'b'},
                                            {"principal", required_argument, NULL, 'p'},
                                            {"admin", required_argument, NULL, 'a'},
                                            {"builder", required_argument, NULL, 'e'},
                                            {"volume-uuid", required_argument, NULL, 'u'},
                                            {"context", required_argument, NULL, 'c'},
                                            {"data-volumes", no_argument, NULL, 'd'},
                                            {"fence-pcr", required_argument, NULL, 'f'},
                                            {"format", required_argument, NULL, 'F'},
                                            {"output", required_argument, NULL, 'o'},
                                            {0}};
    struct policy_names baselines = {0};
    int option;

    for (;;) {
        MU_TRY(cli_next_option(argc, argv, options, &option, err));
        if (option < 0)
            break;
        MU_TRY(take_option(q, &baselines, option, err));
    }
    MU_TRY(cli_operands(argc, 0, 0, err));
    if (q->admins.count == 0)
        return mu_fail(err, MU_USAGE, "--admin is needed, or nobody can ever change the policy");
    if ((baselines.count == 0) != (q->principals.count == 0))
        return mu_fail(
            err, MU_USAGE,
            "--baseline and --principal go together: neither releases the key to nobody");
    if (baselines.count == 0 && q->builders.count == 0)
        return mu_fail(err, MU_USAGE, "--baseline and --principal are needed, or --builder alone");
    MU_TRY(policy_check_apart(&q->principals, "--principal", &q->admins, "--admin", err));
    MU_TRY(policy_check_apart(&q->principals, "--principal", &q->builders, "--builder", err));
    return load_baselines(&baselines, q, err);
}

static enum mu_status policy_kms_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *policy = NULL;
    struct request q = {.fence_pcr = FENCE_DEFAULT, .format = "json", .output = "-"};

    MU_TRY(policy_kms_parse(argc, argv, &q, err));
    MU_TRY(make_policy(&q, &policy, err));
    if (strlen(json_object_to_json_string_ext(
            policy, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                        JSON_C_TO_STRING_NOSLASHESCAPE)) > POLICY_MAX_BYTES)
        return mu_fail(err, MU_CONFIG,
                       "the policy has more than the %d bytes that KMS takes: give fewer baselines "
                       "(take old ones out), or fewer roles",
                       POLICY_MAX_BYTES);
    MU_TRY(policy_format(q.format, &policy, err));
    return cli_print_json(q.output, policy, err);
}

const struct verb verb_policy_kms = {
    .name = "policy kms",
    .synopsis = "--baseline FILE... --principal ARN... --admin ARN... [OPTION...]",
    .summary = "a KMS key policy that is safe as it stands",
    .help = help,
    .run = policy_kms_run,
};
