/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/ctl.h"

static const struct verb *const verbs[] = {
    &verb_pcr,
    &verb_baseline_record,
    &verb_baseline_predict,
    &verb_baseline_diff,
    &verb_baseline_sign,
    &verb_baseline_verify,
    &verb_image_manifest,
    &verb_secureboot_list,
    &verb_secureboot_store,
    &verb_eventlog,
    &verb_attest,
    &verb_verify,
    &verb_enroll,
    &verb_revoke,
    &verb_update_install,
    &verb_update_good,
    &verb_update_list,
    &verb_update_prune,
    &verb_record_show,
    &verb_header_check,
    &verb_policy_kms,
    &verb_policy_vault,
    &verb_policy_lint,
    &verb_doctor,
    &verb_config,
    &verb_seal,
    &verb_unseal,
    &verb_monitor,
    &verb_report_sign,
    NULL,
};

static const struct elsewhere elsewhere[] = {
    {"verifier", "mu-verifier", "serve"},
    {"watch", "mu-verifier", "watch"},
    {0},
};

int main(int argc, char **argv)
{
    static const struct program muctl = {
        .name = "muctl",
        .purpose = "Builds, signs, enrolls and checks what measured-unlock relies on.",
        .verbs = verbs,
        .elsewhere = elsewhere,
    };

    return program_main(&muctl, argc, argv);
}
