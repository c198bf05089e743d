/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_CTL_H
#define MU_CTL_CTL_H

#include "base/openssl.h"
#include "base/secret.h"
#include "cli/cli.h"

/* One file per group of verbs: ctl/pcr.c holds verb_pcr, and so on; the table in main.c lists them.
 */
extern const struct verb verb_pcr;
extern const struct verb verb_config;
extern const struct verb verb_baseline_record, verb_baseline_predict, verb_baseline_diff,
    verb_baseline_sign, verb_baseline_verify;
extern const struct verb verb_image_manifest;
extern const struct verb verb_secureboot_list, verb_secureboot_store;
extern const struct verb verb_eventlog;
extern const struct verb verb_attest;
extern const struct verb verb_verify;
extern const struct verb verb_enroll;
extern const struct verb verb_revoke;
extern const struct verb verb_update_install, verb_update_good, verb_update_list, verb_update_prune;
extern const struct verb verb_record_show;
extern const struct verb verb_header_check;
extern const struct verb verb_policy_kms, verb_policy_vault, verb_policy_lint;
extern const struct verb verb_doctor;
extern const struct verb verb_seal, verb_unseal;
extern const struct verb verb_monitor;
extern const struct verb verb_report_sign;

/* "4,7,12" (also "4+7+12") -> mask. */
enum mu_status ctl_pcr_list(const char *text, uint32_t *ret_mask,
                            struct mu_error *err) MU_MUST_CHECK;
/* --fence-pcr: one PCR that software extends and nobody resets, 8 to 15. NULL leaves *ret as it is.
 */
enum mu_status ctl_fence_pcr(const char *text, unsigned *ret, struct mu_error *err) MU_MUST_CHECK;

/* --nonce: hex. */
enum mu_status ctl_nonce(const char *hex, struct buffer *ret, struct mu_error *err) MU_MUST_CHECK;
/* A whole file ("-": standard input) of 1 to max bytes. */
enum mu_status ctl_read_secret(const char *path, size_t max, struct secret *ret,
                               struct mu_error *err) MU_MUST_CHECK;

/* As attestation documents carry it: a SubjectPublicKeyInfo in DER. */
enum mu_status ctl_encode_public_key(EVP_PKEY *key, struct buffer *ret,
                                     struct mu_error *err) MU_MUST_CHECK;

/* A volume as people name it: a path, also a relative one, of a device or a file; or UUID=,
 * PARTUUID=, PARTLABEL=, LABEL= in any case. A path that does not exist is returned as it is:
 * opening it fails later. */
enum mu_status ctl_device(const char *text, char **ret, struct mu_error *err) MU_MUST_CHECK;

#endif
