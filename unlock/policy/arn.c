/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "policy/arn.h"

#include <stdbool.h>
#include <string.h>

#include "ctl/ctl.h"
#include "policy/policy.h"

#define DIGITS "0123456789"
#define HEX_LOWER DIGITS "abcdef"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define ARN_MAX 2048

enum mu_status policy_add_name(struct policy_names *names, const char *option, const char *text,
                               struct mu_error *err)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->name[i], text) == 0)
            return MU_OK;
    if (names->count == POLICY_NAMES_MAX)
        return mu_fail(err, MU_USAGE, "at most %d times %s", POLICY_NAMES_MAX, option);
    names->name[names->count++] = text;
    return MU_OK;
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

enum mu_status policy_add_arn(struct policy_names *names, const char *option, const char *text,
                              struct mu_error *err)
{
    if (!is_identity(text))
        return mu_fail(
            err, MU_USAGE,
            "%s '%.128s' is not the ARN of a role, as arn:aws:iam::111122223333:role/NAME "
            "(an account's root would let IAM policies decide)",
            option, text);
    return policy_add_name(names, option, text, err);
}

enum mu_status policy_add_uuid(struct policy_names *names, const char *text, struct mu_error *err)
{
    static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    bool ok = strlen(text) == strlen(shape);

    for (size_t i = 0; ok && shape[i] != '\0'; i++)
        ok = shape[i] == '-' ? text[i] == '-' : strchr(HEX_LOWER, text[i]) != NULL;
    if (!ok)
        return mu_fail(err, MU_USAGE,
                       "'%.64s' is not a UUID in lower case, as cryptsetup prints it", text);
    return policy_add_name(names, "--volume-uuid", text, err);
}

enum mu_status policy_add_hex(struct policy_names *names, const char *text, size_t digits,
                              struct mu_error *err)
{
    if (strlen(text) != digits || strspn(text, HEX_LOWER) != digits)
        return mu_fail(err, MU_USAGE, "'%.128s' is not %zu hex digits in lower case", text, digits);
    return policy_add_name(names, "--context", text, err);
}

enum mu_status policy_check_apart(const struct policy_names *a, const char *option_a,
                                  const struct policy_names *b, const char *option_b,
                                  struct mu_error *err)
{
    for (size_t i = 0; i < a->count; i++)
        for (size_t k = 0; k < b->count; k++)
            if (strcmp(a->name[i], b->name[k]) == 0)
                return mu_fail(
                    err, MU_USAGE,
                    "%s is both %s and %s: the user of the key must not have other rights over it",
                    a->name[i], option_a, option_b);
    return MU_OK;
}

enum mu_status policy_fence_pcr(const char *text, unsigned *ret, struct mu_error *err)
{
    uint32_t mask = 0;

    MU_TRY(ctl_pcr_list(text, &mask, err));
    for (unsigned pcr = 8; pcr < 16; pcr++)
        if (mask == 1u << pcr) {
            *ret = pcr;
            return MU_OK;
        }
    return mu_fail(err, MU_USAGE, "--fence-pcr '%.16s': one PCR from 8 to 15 can be the fence",
                   text);
}
