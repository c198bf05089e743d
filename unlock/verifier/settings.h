/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_SETTINGS_H
#define MU_VERIFIER_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* verifier.conf(5) */

#define SETTINGS_DEFAULT_PATH "/etc/measured-unlock/verifier.conf"
#define SETTINGS_KEYS_MAX 8
#define SETTINGS_BASELINES_MAX 64
#define SETTINGS_AUDIENCES_MAX 16

/* An account's id, of 12 digits. */
#define SETTINGS_ACCOUNT_LEN 12

enum identity_demand { IDENTITY_IGNORED, IDENTITY_OPTIONAL, IDENTITY_REQUIRED };
enum reference_state { STATE_BOOT, STATE_RUNNING };
enum token_profile { PROFILE_EAT, PROFILE_EAR };
enum token_encryption { ENCRYPTED_TO_DOCUMENT, NOT_ENCRYPTED };

struct key_settings {
    char *name;
    char *file;
};

struct baseline_settings {
    char *name;
    char *file;
    char *version; /* default "" */
    enum reference_state state;
};

/* A relying party, or several that share a value of "aud". */
struct audience_settings {
    char *name;
    char *value;       /* of "aud"; default: the name */
    char *signing_key; /* name of its section; NULL: the first */
    enum token_profile profile;
    enum token_encryption encryption;
    unsigned token_lifetime;    /* seconds; 10..86400, default 300 */
    unsigned tokens_per_minute; /* for the instances of one account; 0, the default: any number */
};

/* Who may look at the page about the fleet; what is set is demanded. */
struct page_settings {
    char *listen; /* NULL: there is no page */
    char *token_file, *client_ca;
};

struct settings {
    /* [verifier] */
    char *listen; /* ADDRESS:PORT, [ADDRESS]:PORT */
    char *certificate, *certificate_key;
    char *issuer;
    char *root;                /* PEM; NULL: AWS's */
    char *region_certificates; /* folder */
    char *store;               /* NULL: none */
    char *builder_key;         /* of the images that the store has as approved; NULL: not used */
    enum identity_demand identity;
    char *accounts;              /* ids, with blanks or commas between them; NULL: any */
    unsigned challenge_lifetime; /* seconds; 5..600, default 60 */
    unsigned max_age;            /* of a document, seconds; 5..3600, default 120 */
    unsigned fence_pcr;          /* 8..15, default 15 */
    /* [limits] */
    unsigned threads;                 /* 1..16, default 2 */
    unsigned connections;             /* at once; default 1000 */
    unsigned connections_per_address; /* default 16 */
    unsigned requests_per_second;     /* of an address; default 10 */
    unsigned burst;                   /* default 20 */
    unsigned timeout;                 /* for one request, seconds; default 10 */
    struct page_settings page;
    /* [audience NAME], [signing-key NAME], [challenge-key NAME], [baseline NAME], in file order */
    struct audience_settings audience[SETTINGS_AUDIENCES_MAX];
    size_t audiences;
    struct key_settings signing_key[SETTINGS_KEYS_MAX];
    size_t signing_keys;
    struct key_settings challenge_key[SETTINGS_KEYS_MAX];
    size_t challenge_keys;
    struct baseline_settings baseline[SETTINGS_BASELINES_MAX];
    size_t baselines;
};

enum mu_status settings_load(const char *path, struct settings *ret,
                             struct mu_error *err) MU_MUST_CHECK;
void settings_free(struct settings *settings);

/* True if instances of this account are served: it is listed, or there is no list. */
bool settings_serve(const struct settings *settings, const char *account);
/* "no", "optional", "required" */
const char *identity_demand_name(enum identity_demand demand);
/* "boot", "running" */
const char *reference_state_name(enum reference_state state);

#endif
