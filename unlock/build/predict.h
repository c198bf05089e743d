/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_PREDICT_H
#define MU_BUILD_PREDICT_H

#include "build/secureboot.h"
#include "measure/eventlog.h"

#define PREDICT_IMAGES_MAX 8

struct predict_request {
    enum hash_alg bank;
    uint32_t mask;
    uint32_t optional; /* of these, a PCR that cannot be known is left out, with a line on stderr */
    const struct bytes *images; /* each one that is measured, in load order */
    size_t count;
    const struct secure_boot *keys; /* NULL: Secure Boot is off and no keys are enrolled */
    bool setup_mode;    /* there are keys without a PK: Secure Boot is off, and they are measured */
    const char *phases; /* "a:b" as for systemd-measure; "": none. PCR 11 */
};

/* PCR values computed from the boot binaries: 4 (TCG PC Client PFP 3.3.4.5), 7 (3.3.4.8), 11 (what
 * systemd-stub measures of a UKI, the last image; zero without one) and 12 (nothing is handed in
 * from outside; an old systemd-boot hands a UKI its own command line). MU_CONFIG when one of them
 * cannot be known, MU_REFUSE when Secure Boot would not start an image. ret->mask has what was
 * predicted.
 */
enum mu_status predict_values(const struct predict_request *request, struct pcr_values *ret,
                              struct mu_error *err) MU_MUST_CHECK;
/* The events that lead to these values, as an event log; *ret_mask: the PCRs that are predicted. */
enum mu_status predict_log(const struct predict_request *request, struct eventlog *ret,
                           uint32_t *ret_mask, struct mu_error *err) MU_MUST_CHECK;

/* The boot phases after which PCR 11 is as measured-unlock finds it: systemd-pcrphase extends it if
 * an EFI variable of the stub says that the UKI was measured. Without EFI variables it does not
 * (systemd.unit(5), measured-uki and measured-os). */
enum mu_status predict_phases(struct bytes uki, const char **ret,
                              struct mu_error *err) MU_MUST_CHECK;
/* MU_CONFIG unless the image is a boot loader that can be predicted without what it starts: it
 * leaves PCR 12 alone if that is a UKI. */
enum mu_status predict_boot_loader(struct bytes image, struct mu_error *err) MU_MUST_CHECK;

#endif
