/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "base/defaults.h"
#include "ctl/ctl.h"
#include "policy/images.h"

#define ACCOUNTS_MAX 16
#define ACCOUNT_DIGITS 12
#define POLICIES_MAX 8

struct request {
    struct policy_manifests manifests;
    struct policy_images images;
    const char *account[ACCOUNTS_MAX], *policy[POLICIES_MAX], *audience, *output;
    size_t accounts, policies;
    unsigned fence_pcr;
};

/* Each claim is compared by itself; `image` keeps the old PCR 4 from the new PCR 7. */
static bool add_claims(json_object *claims, const struct request *q)
{
    static const struct pcr_values zero = {.bank = HASH_SHA384};
    const struct policy_images *images = &q->images;
    const char *ids[POLICY_IMAGES_MAX];
    uint32_t mask = images->baseline[0].mask;
    char name[16];

    for (size_t i = 0; i < images->ids; i++)
        ids[i] = images->id[i];
    for (size_t i = 1; i < images->baselines; i++)
        mask &= images->baseline[i].mask;
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        (void)snprintf(name, sizeof(name), "pcr%u", pcr);
        if ((mask & PCR_BIT(pcr)) != 0 &&
            !policy_add_pcr(claims, name, images->baseline, images->baselines, pcr))
            return false;
        if (pcr == q->fence_pcr && !policy_add_pcr(claims, name, &zero, 1, pcr))
            return false;
    }
    return policy_add_texts(claims, "image", ids, images->ids) &&
           policy_add_texts(claims, "account", q->account, q->accounts) &&
           json_add_text(claims, "state", "boot");
}

static bool add_list(json_object *role, const char *name, const char *const *texts, size_t count)
{
    json_object *list = json_object_new_array();

    if (!json_add(role, name, list))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!json_append(list, json_object_new_string(texts[i])))
            return false;
    return true;
}

static enum mu_status make_role(const struct request *q, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *role = json_object_new_object();
    json_object *claims = json_object_new_object();

    if (!json_add(role, "bound_claims", claims) || !json_add_text(role, "role_type", "jwt") ||
        !json_add_text(role, "user_claim", "sub") ||
        !add_list(role, "bound_audiences", &q->audience, 1) || !add_claims(claims, q) ||
        !add_list(role, "token_policies", q->policy, q->policies) ||
        !json_add_text(role, "token_ttl", "2m") || !json_add_text(role, "token_max_ttl", "2m"))
        return mu_oom(err);
    *ret = MU_TAKE(role);
    return MU_OK;
}

static enum mu_status check_request(const struct request *q, struct mu_error *err)
{
    if (q->manifests.count == 0 || q->audience == NULL || q->policies == 0 || q->accounts == 0)
        return mu_fail(err, MU_USAGE,
                       "--images, --account, --audience and --policy are needed; see 'muctl policy "
                       "vault --help'");
    for (size_t i = 0; i < q->accounts; i++)
        if (strlen(q->account[i]) != ACCOUNT_DIGITS ||
            !bytes_all_of(text_view(q->account[i]), "0123456789"))
            return mu_fail(err, MU_USAGE, "--account '%.40s' is not an account's 12 digits",
                           q->account[i]);
    return MU_OK;
}

static enum mu_status policy_vault_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *role = NULL;
    struct request q = {.output = "-", .fence_pcr = FENCE_DEFAULT};
    const char *fence = NULL;
    const struct cli_option options[] = {
        {"images", 'i', .text = q.manifests.path, .count = &q.manifests.count,
         .max = POLICY_IMAGES_MAX},
        {"builder-key", 'k', .text = &q.manifests.builder_key},
        {"account", 'a', .text = q.account, .count = &q.accounts, .max = ACCOUNTS_MAX},
        {"audience", 0, .text = &q.audience},
        {"policy", 'p', .text = q.policy, .count = &q.policies, .max = POLICIES_MAX},
        {"fence-pcr", 'f', .text = &fence},
        {"output", 'o', .text = &q.output},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    MU_TRY(ctl_fence_pcr(fence, &q.fence_pcr, err));
    MU_TRY(check_request(&q, err));
    MU_TRY(policy_images_load(&q.manifests, q.fence_pcr, &q.images, err));
    MU_TRY(make_role(&q, &role, err));
    return cli_print_json(q.output, role, err);
}

const struct verb verb_policy_vault = {
    .name = "policy vault",
    .synopsis = "--images FILE... --builder-key FILE --account ID... --audience A\n"
                "             --policy NAME... [OPTION...]",
    .summary = "a role of Vault's JWT auth method for approved images",
    .help =
        "Writes the role for 'vault write auth/jwt/role/NAME @role.json': its bound_claims demand\n"
        "the PCRs and the ids of these images, an open fence, and the account. The verifier must\n"
        "have the images as approved.\n"
        "\n"
        "  --images FILE          the manifest of an image or a boot loader that may boot ('muctl\n"
        "                         image manifest'); again for each: all combinations\n"
        "  --builder-key FILE     whose signature the manifests must have\n"
        "  --account ID           of the instances; may be repeated\n"
        "  --audience A           of the verifier's tokens\n"
        "  --policy NAME          what a login may do in Vault; may be repeated\n"
        "  --fence-pcr N          the fence PCR of the image's configuration (default 15)\n"
        "  -o, --output FILE      default standard output\n"
        "\n"
        "Example: muctl policy vault --images web-7.json --images web-8.json --account "
        "111122223333 \\\n"
        "             --builder-key builder.pem --audience vault --policy root-volume -o "
        "role.json\n",
    .run = policy_vault_run,
};
