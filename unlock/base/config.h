/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_CONFIG_H
#define MU_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* measured-unlock.conf(5): "[section]" or "[volume NAME]" lines, "key = value" lines, "#" comments.
 * Unknown sections and keys, duplicates and values out of range are MU_CONFIG with the line number.
 */

#define CONFIG_DEFAULT_PATH "/etc/measured-unlock/measured-unlock.conf"
#define CONFIG_VOLUMES_MAX 8

enum refusal_action { ACTION_POWEROFF, ACTION_REBOOT, ACTION_HALT };
enum volume_create { CREATE_NO, CREATE_BLANK };
enum refusal_fallback { FALLBACK_NONE, FALLBACK_PASSPHRASE, FALLBACK_SHELL };

struct volume_config {
    char *name;     /* [volume NAME]; also the dm name unless mapping is given */
    char *device;   /* /dev/..., UUID=..., PARTUUID=..., PARTLABEL=..., LABEL=... */
    char *provider; /* how its key is released; default "aws-kms"; the record must say the same */
    char *mapping;  /* /dev/mapper/<mapping> */
    bool discard;
    enum volume_create create; /* a blank device is made into a volume (docs/data-volumes.md)... */
    char *key_arn; /* ...under this KMS key; set if and only if create is CREATE_BLANK */
};

struct config {
    /* [boot] */
    char *baseline;                 /* baked baseline; default /etc/measured-unlock/baseline.json */
    char *builder_key;              /* PEM public key; default /etc/measured-unlock/builder.pem */
    unsigned fence_pcr;             /* 8..15; default 15 */
    unsigned timeout;               /* seconds for the whole boot; 5..3600, default 120 */
    int64_t minimum_record_version; /* default 1 */
    enum refusal_action action;
    enum refusal_fallback fallback;
    char *report; /* default /run/measured-unlock/report.json */
    /* [tpm] */
    char *tcti;     /* NULL: /dev/tpmrm0, then /dev/tpm0; or "device:PATH", "swtpm:host=H,port=N" */
    char *eventlog; /* default /sys/kernel/security/tpm0/binary_bios_measurements */
    /* [aws] */
    char *imds;            /* base URL; default http://169.254.169.254 */
    char *ca_file;         /* PEM; default /etc/measured-unlock/ca.pem (the Amazon roots) */
    char *kms_endpoint;    /* URL; NULL: derived from the key ARN's region and partition */
    bool fips, dual_stack; /* flavour of the derived endpoint */
    /* [vault] */
    char *vault_ca_file;    /* PEM; defaults as that of [aws] */
    char *verifier_ca_file; /* PEM; defaults as that of [aws] */
    /* [volume NAME]... in file order */
    struct volume_config volume[CONFIG_VOLUMES_MAX];
    size_t volumes;
};

enum mu_status config_load(const char *path, struct config *ret,
                           struct mu_error *err) MU_MUST_CHECK;
void config_free(struct config *config);

#endif
