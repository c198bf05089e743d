/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_CONFIG_H
#define MU_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defaults.h"
#include "base/error.h"
#include "base/options.h"

/* measured-unlock.conf(5): "[section]" or "[volume NAME]" lines, "key = value" lines, "#" comments.
 * Defaults are in base/defaults.h. Unknown sections and keys, duplicates and values out of range
 * are MU_CONFIG with the line number.
 */

#define CONFIG_VOLUMES_MAX 8
#define CONFIG_OPEN_BETWEEN " \t"

enum refusal_action { ACTION_POWEROFF, ACTION_REBOOT, ACTION_HALT };
enum volume_create { CREATE_NO, CREATE_BLANK };
enum refusal_fallback { FALLBACK_NONE, FALLBACK_PASSPHRASE, FALLBACK_SHELL };
extern const char *const config_actions[], *const config_fallbacks[]; /* as the file has them */

struct volume_config {
    char *name;     /* [volume NAME]; also the dm name unless mapping is given */
    char *device;   /* /dev/..., UUID=..., PARTUUID=..., PARTLABEL=..., LABEL=... */
    char *provider; /* how the key is released; the record must say the same */
    char *mapping;  /* /dev/mapper/<mapping> */
    bool discard;
    enum volume_create create; /* a blank device becomes a volume (docs/guide/data-volumes.md)... */
    char *key_arn; /* ...under these KMS keys, a list; set if and only if create is CREATE_BLANK */
};

struct config {
    /* [boot] */
    char *baseline;                 /* baked baseline */
    char *builder_key;              /* PEM public key */
    unsigned fence_pcr;             /* FENCE_FIRST..FENCE_LAST */
    unsigned timeout;               /* seconds for the whole boot; 5..3600, default 120 */
    int64_t minimum_record_version; /* default 1 */
    enum refusal_action action;
    enum refusal_fallback fallback;
    char *open; /* doors that stay open (base/doors.h), a list for ini_next_item; default none */
    char *report;
    /* [tpm] */
    char *tcti; /* NULL: /dev/tpmrm0, then /dev/tpm0; or "device:PATH", "swtpm:host=H,port=N" */
    char *eventlog;
    struct aws_options aws;     /* [aws] */
    struct vault_options vault; /* [vault] */
    /* [volume NAME]... in file order */
    struct volume_config volume[CONFIG_VOLUMES_MAX];
    size_t volumes;
};

enum mu_status config_load(const char *path, struct config *ret,
                           struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
void config_free(struct config *config) MU_NONNULL;

/* What the providers need of it, borrowed. */
static inline struct provider_options config_provider_options(const struct config *config)
{
    return (struct provider_options){config->fence_pcr, config->aws, config->vault};
}

/* True if the builder leaves the doors of that name open. */
bool config_opens(const struct config *config, const char *name) MU_NONNULL;

#endif
