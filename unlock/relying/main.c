/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "relying/relying.h"

static const struct verb *const verbs[] = {
    &verb_serve,      &verb_init,       &verb_check,         &verb_watch,
    &verb_list,       &verb_forget,     &verb_image_approve, &verb_image_revoke,
    &verb_image_list, &verb_image_show, &verb_audit,         NULL,
};

int main(int argc, char **argv)
{
    static const struct program mu_verifier = {
        .name = "mu-verifier",
        .purpose = "Verifies what instances attest, and watches over them: the relying side of "
                   "measured-unlock.",
        .verbs = verbs,
    };

    return program_main(&mu_verifier, argc, argv);
}
