/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/defaults.h"
#include "ctl/ctl.h"

#include <stdio.h>
#include <string.h>

#include "measure/baseline.h"
#include "policy/format.h"
#include "policy/images.h"
#include "policy/policy.h"
#include "volume/record.h"

#define NAMES_MAX 16 /* of one option */
#define DIGITS "0123456789"
#define HEX_LOWER DIGITS "abcdef"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define ARN_MAX 2048
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
    "  --images FILE          the manifest of an image or a boot loader that may boot ('muctl "
    "image\n"
    "                         manifest'), instead of baselines; again for each: all combinations\n"
    "  --builder-key FILE     whose signature the manifests must have\n"
    "  --principal ARN        role of the instances; may be repeated\n"
    "  --admin ARN            role that may change this policy and delete the key; may be "
    "repeated\n"
    "  --builder ARN          role that runs 'muctl enroll': Encrypt, nothing else; may be "
    "repeated\n"
    "  --volume-uuid UUID     only for this volume; may be repeated\n"
    "  --context NAME=VALUE   the same for volume-uuid or volume-identity ('muctl record show')\n"
    "  --data-volumes         the instances may also make volumes of their own on blank devices\n"
    "                         ('create = blank'): GenerateDataKey, on the same conditions\n"
    "  --replication          the administrators may replicate a multi-Region key, and give the\n"
    "                         replica its policy: put this one only while they do so\n"
    "  --fence-pcr N          the fence PCR of the image's configuration (default 15)\n"
    "  --format FORMAT        json (the policy, default); a KMS key that has it, for "
    "cloudformation\n"
    "                         or terraform (JSON both)\n"
    "  -o, --output FILE      default standard output\n"
    "\n"
    "Example: muctl policy kms --baseline complete.json --principal "
    "arn:aws:iam::111122223333:role/web\n"
    "         --admin arn:aws:iam::111122223333:role/key-admin -o policy.json\n";

/* No CreateGrant, ImportKeyMaterial: each is another way to the key's use. The last one with
 * --replication alone. */
static const char *const administration[] = {
    "kms:DescribeKey",          "kms:GetKeyPolicy",      "kms:ListKeyPolicies",
    "kms:PutKeyPolicy",         "kms:EnableKey",         "kms:DisableKey",
    "kms:GetKeyRotationStatus", "kms:EnableKeyRotation", "kms:DisableKeyRotation",
    "kms:ListGrants",           "kms:RevokeGrant",       "kms:ListResourceTags",
    "kms:TagResource",          "kms:UntagResource",     "kms:UpdateKeyDescription",
    "kms:CreateAlias",          "kms:UpdateAlias",       "kms:DeleteAlias",
    "kms:ScheduleKeyDeletion",  "kms:CancelKeyDeletion", "kms:ReplicateKey",
};

/* CreateGrant, ReEncrypt and ReplicateKey never come with a document: this is all of them. The last
 * is not denied with --replication. */
static const char *const use[] = {
    "kms:Decrypt",     "kms:ReEncrypt*",   "kms:GenerateDataKey*", "kms:DeriveSharedSecret",
    "kms:CreateGrant", "kms:ReplicateKey",
};

/* The arguments of an option, borrowed from argv. */
struct names {
    const char *option, *name[NAMES_MAX];
    size_t count;
};

struct request {
    struct names principals, admins, builders, uuids, identities;
    struct policy_images measured; /* of --baseline or --images */
    bool data_volumes, replication;
    unsigned fence_pcr;
    const char *format, *output;
};

/* A new member object, borrowed; NULL is out of memory. */
static json_object *put_object(json_object *object, const char *name)
{
    json_object *member = json_object_new_object();

    return json_add(object, name, member) ? member : NULL;
}

/* A statement without Condition at the end of the list; NULL `who` is everybody. */
static json_object *add_statement(json_object *list, const char *sid, const char *effect,
                                  const struct names *who, const char *const *actions, size_t count)
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
        if (principal == NULL || !policy_add_texts(principal, "AWS", who->name, who->count))
            return NULL;
    }
    if (!policy_add_texts(statement, "Action", actions, count) ||
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
    const struct names *const values[] = {&q->uuids, &q->identities};
    json_object *all = put_object(condition, "ForAllValues:StringEquals");
    json_object *null = put_object(condition, "Null");
    char key[64];

    if (all == NULL || null == NULL ||
        !policy_add_texts(all, CONTEXT_KEYS, names, by_instance ? 5 : 2) ||
        !json_add_text(null, CONTEXT_KEYS, "false") ||
        (by_instance && !json_add_text(equals, CONTEXT_KEY "made-by", "instance")))
        return false;
    for (size_t i = 0; i < (by_instance ? 4 : 2); i++) {
        (void)snprintf(key, sizeof(key), CONTEXT_KEY "%s", names[i]);
        if (by_instance || values[i]->count == 0
                ? !json_add_text(null, key, "false")
                : !policy_add_texts(equals, key, values[i]->name, values[i]->count))
            return false;
    }
    return true;
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
    char key[64];

    if (equals == NULL)
        return false;
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        (void)snprintf(key, sizeof(key), PCR_KEY "%u", pcr);
        if ((baseline->mask & PCR_BIT(pcr)) != 0 &&
            !policy_add_pcr(equals, key, baseline, count, pcr))
            return false;
        if (pcr == q->fence_pcr && !policy_add_pcr(equals, key, &zero, 1, pcr))
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
    unsigned pcr =
        q->measured.baselines == 0 || (q->measured.baseline[0].mask & PCR_BIT(4)) != 0 ? 4 : 7;
    json_object *statement = add_statement(list, "RefuseWithoutDocument", "Deny", NULL, use,
                                           MU_COUNT(use) - (q->replication ? 1 : 0));
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
        differ |= pcr_differing(&baseline[0], &baseline[i]);
    }
    return (differ & (differ - 1)) == 0;
}

static bool add_releases(json_object *list, const struct request *q, bool by_instance,
                         const char *name)
{
    char sid[48];

    if (q->measured.baselines == 0)
        return true;
    if (differ_in_one(q->measured.baseline, q->measured.baselines))
        return add_release(list, q, q->measured.baseline, q->measured.baselines, by_instance, name);
    for (size_t i = 0; i < q->measured.baselines; i++) {
        (void)snprintf(sid, sizeof(sid), "%s%zu", name, i + 1);
        if (!add_release(list, q, &q->measured.baseline[i], 1, by_instance, sid))
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
                      MU_COUNT(administration) - (q->replication ? 0 : 1)) == NULL ||
        !add_builder(list, q) || !add_releases(list, q, false, "ReleaseToMeasuredBoot") ||
        !add_data_volumes(list, q) || !add_deny(list, q))
        return mu_oom(err);
    *ret = MU_TAKE(policy);
    return MU_OK;
}

/* ---- arguments ---- */

static void drop_repeated(struct names *names)
{
    size_t kept = 0;

    for (size_t i = 0, k; i < names->count; i++) {
        for (k = 0; k < kept && strcmp(names->name[k], names->name[i]) != 0;)
            k++;
        if (k == kept)
            names->name[kept++] = names->name[i];
    }
    names->count = kept;
}

/* IAM User Guide, "IAM identifiers": arn:PARTITION:iam::ACCOUNT:role/PATH/NAME */
static bool is_identity(const char *text)
{
    size_t len;

    if (strlen(text) > ARN_MAX || strncmp(text, "arn:aws", 7) != 0)
        return false;
    text += 7;
    text += strspn(text, "-abcdefghijklmnopqrstuvwxyz");
    if (strncmp(text, ":iam::", 6) != 0)
        return false;
    text += 6;
    len = strspn(text, DIGITS);
    if (len != 12 || text[len] != ':')
        return false;
    text += len + 1;
    if (strncmp(text, "role/", 5) != 0 && strncmp(text, "user/", 5) != 0)
        return false;
    text += 5;
    len = strlen(text);
    return len > 0 && text[len - 1] != '/' && strspn(text, LETTERS DIGITS "+=,.@_/-") == len;
}

static enum mu_status check_arns(const struct names *names, struct mu_error *err)
{
    for (size_t i = 0; i < names->count; i++)
        if (!is_identity(names->name[i]))
            return mu_fail(
                err, MU_USAGE,
                "%s '%.128s' is not the ARN of a role, as arn:aws:iam::111122223333:role/NAME "
                "(an account's root would let IAM policies decide)",
                names->option, names->name[i]);
    return MU_OK;
}

static enum mu_status check_uuids(const struct names *names, struct mu_error *err)
{
    static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

    for (size_t i = 0; i < names->count; i++) {
        const char *text = names->name[i];
        bool ok = strlen(text) == strlen(shape);

        for (size_t k = 0; ok && shape[k] != '\0'; k++)
            ok = shape[k] == '-' ? text[k] == '-' : strchr(HEX_LOWER, text[k]) != NULL;
        if (!ok)
            return mu_fail(err, MU_USAGE,
                           "'%.64s' is not a UUID in lower case, as cryptsetup prints it", text);
    }
    return MU_OK;
}

static enum mu_status check_identities(const struct names *names, struct mu_error *err)
{
    const size_t digits = (size_t)2 * VOLUME_IDENTITY_SIZE;

    for (size_t i = 0; i < names->count; i++)
        if (strlen(names->name[i]) != digits || strspn(names->name[i], HEX_LOWER) != digits)
            return mu_fail(err, MU_USAGE, "'%.128s' is not %zu hex digits in lower case",
                           names->name[i], digits);
    return MU_OK;
}

static enum mu_status check_apart(const struct names *a, const struct names *b,
                                  struct mu_error *err)
{
    for (size_t i = 0; i < a->count; i++)
        for (size_t k = 0; k < b->count; k++)
            if (strcmp(a->name[i], b->name[k]) == 0)
                return mu_fail(
                    err, MU_USAGE,
                    "%s is both %s and %s: the user of the key must not have other rights over it",
                    a->name[i], a->option, b->option);
    return MU_OK;
}

static enum mu_status load_baselines(const struct names *paths, struct request *q,
                                     struct mu_error *err)
{
    for (size_t i = 0; i < paths->count; i++) {
        struct pcr_values *values = &q->measured.baseline[i];

        MU_TRY(baseline_load(paths->name[i], values, err));
        MU_TRY(policy_check_baseline(paths->name[i], q->fence_pcr, values, err));
    }
    q->measured.baselines = paths->count;
    return MU_OK;
}

static enum mu_status take_contexts(const struct names *contexts, struct request *q,
                                    struct mu_error *err)
{
    static const char uuid[] = "volume-uuid=", identity[] = "volume-identity=";

    for (size_t i = 0; i < contexts->count; i++) {
        const char *text = contexts->name[i];
        bool by_uuid = strncmp(text, uuid, strlen(uuid)) == 0;
        struct names *to = by_uuid ? &q->uuids : &q->identities;

        if (!by_uuid && strncmp(text, identity, strlen(identity)) != 0)
            return mu_fail(err, MU_USAGE,
                           "--context '%.64s': measured-unlock sends volume-uuid=UUID and "
                           "volume-identity=HEX, nothing else",
                           text);
        if (to->count == NAMES_MAX)
            return mu_fail(err, MU_USAGE, "at most %d times %s", NAMES_MAX, to->option);
        to->name[to->count++] = text + strlen(by_uuid ? uuid : identity);
    }
    return MU_OK;
}

static enum mu_status check_names(struct request *q, struct names *baselines, size_t images,
                                  struct mu_error *err)
{
    struct names *const all[] = {baselines,    &q->principals, &q->admins,
                                 &q->builders, &q->uuids,      &q->identities};
    const size_t measured = baselines->count + images;

    for (size_t i = 0; i < MU_COUNT(all); i++)
        drop_repeated(all[i]);
    MU_TRY(check_arns(&q->principals, err));
    MU_TRY(check_arns(&q->admins, err));
    MU_TRY(check_arns(&q->builders, err));
    MU_TRY(check_uuids(&q->uuids, err));
    MU_TRY(check_identities(&q->identities, err));
    if (q->admins.count == 0)
        return mu_fail(err, MU_USAGE, "--admin is needed, or nobody can ever change the policy");
    if (baselines->count > 0 && images > 0)
        return mu_fail(err, MU_USAGE, "--baseline or --images, not both");
    if ((measured == 0) != (q->principals.count == 0))
        return mu_fail(
            err, MU_USAGE,
            "--baseline and --principal go together: neither releases the key to nobody");
    if (measured == 0 && q->builders.count == 0)
        return mu_fail(err, MU_USAGE, "--baseline and --principal are needed, or --builder alone");
    MU_TRY(check_apart(&q->principals, &q->admins, err));
    return check_apart(&q->principals, &q->builders, err);
}

#define NAMES(of) .text = (of).name, .count = &(of).count, .max = NAMES_MAX

static enum mu_status policy_kms_parse(int argc, char **argv, struct request *q,
                                       struct mu_error *err)
{
    struct names baselines = {0}, contexts = {0};
    struct policy_manifests manifests = {0};
    const char *fence = NULL;
    const struct cli_option options[] = {
        {"baseline", 'b', NAMES(baselines)},
        {"images", 'i', .text = manifests.path, .count = &manifests.count,
         .max = POLICY_IMAGES_MAX},
        {"builder-key", 'k', .text = &manifests.builder_key},
        {"principal", 'p', NAMES(q->principals)},
        {"admin", 'a', NAMES(q->admins)},
        {"builder", 'e', NAMES(q->builders)},
        {"volume-uuid", 'u', NAMES(q->uuids)},
        {"context", 'c', NAMES(contexts)},
        {"data-volumes", 'd', .flag = &q->data_volumes},
        {"replication", 'r', .flag = &q->replication},
        {"fence-pcr", 'f', .text = &fence},
        {"format", 'F', .text = &q->format},
        {"output", 'o', .text = &q->output},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    MU_TRY(ctl_fence_pcr(fence, &q->fence_pcr, err));
    MU_TRY(take_contexts(&contexts, q, err));
    MU_TRY(check_names(q, &baselines, manifests.count, err));
    return manifests.count > 0 ? policy_images_load(&manifests, q->fence_pcr, &q->measured, err)
                               : load_baselines(&baselines, q, err);
}

static enum mu_status policy_kms_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *policy = NULL;
    struct request q = {.principals.option = "--principal",
                        .admins.option = "--admin",
                        .builders.option = "--builder",
                        .uuids.option = "--volume-uuid",
                        .identities.option = "--context",
                        .fence_pcr = FENCE_DEFAULT,
                        .format = "json",
                        .output = "-"};

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
    .synopsis = "--baseline FILE...|--images FILE... --principal ARN... --admin ARN...\n           "
                "  [OPTION...]",
    .summary = "a KMS key policy that is safe as it stands",
    .help = help,
    .run = policy_kms_run,
};
