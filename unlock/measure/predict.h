/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_MEASURE_PREDICT_H
#define MU_MEASURE_PREDICT_H

#include "tpm/tpm.h"

/* PCR values computed from the boot binaries, in load order, for a boot without Secure Boot: PCR 4
 * (UEFI 2.10 and TCG PC Client PFP 3.3.4.5), PCR 7 (3.3.4.8) and PCR 12 (zero: nothing handed in).
 * The last image may be a UKI, whose stub loads .linux as one more image (stub version from its
 * .sdmagic/.sbat). */
enum mu_status predict(const struct bytes *images, size_t count, enum hash_alg bank, uint32_t mask,
                       struct pcr_values *ret, struct mu_error *err) MU_MUST_CHECK;

#endif
