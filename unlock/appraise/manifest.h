/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_MANIFEST_H
#define MU_APPRAISE_MANIFEST_H

#include "appraise/dsse.h"
#include "tpm/tpm.h"

/* What an image is, by its builder: an in-toto Statement v1 in a DSSE envelope
 * (docs/develop/formats.md). */

#define MANIFEST_PAYLOAD_TYPE "application/vnd.in-toto+json"
#define MANIFEST_STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define MANIFEST_PREDICATE_TYPE "tag:measured-unlock,2026:image:v1"
#define MANIFEST_EVENTS_MAX 32
#define MANIFEST_IMAGES_MAX 8
#define MANIFEST_TEXT_MAX 512
#define MANIFEST_NAME_MAX 64
#define MANIFEST_ID_SIZE 65

/* Of each digest, and of the predicted PCRs. */
enum manifest_bank { MANIFEST_SHA256, MANIFEST_SHA384, MANIFEST_BANKS };
extern const enum hash_alg manifest_bank[MANIFEST_BANKS];

/* A boot loader has no PCRs by itself: it may stand before each image that any boot loader may
 * start. */
enum manifest_kind { MANIFEST_IMAGE, MANIFEST_BOOT_LOADER };
/* "image", "boot-loader" */
const char *manifest_kind_name(enum manifest_kind kind);

struct manifest_event {
    unsigned pcr;
    struct digest digest[MANIFEST_BANKS];
};

/* Texts are borrowed from the statement. */
struct manifest {
    json_object *statement;
    char id[MANIFEST_ID_SIZE]; /* SHA-256 of the statement as it was signed, hex */
    enum manifest_kind kind;
    const char *name, *version, *source, *builder;
    bool any_loader;        /* one UKI: firmware starts it, or any boot loader that is approved */
    int64_t record_version; /* 0: not said */
    struct pcr_values values[MANIFEST_BANKS]; /* of an image */
    size_t events;
    struct manifest_event event[MANIFEST_EVENTS_MAX]; /* that lead to these, in their order */
};
void manifest_free(struct manifest *manifest);

/* The statement in the envelope, if one of the keys signed it. MU_REFUSE: none did; MU_CONFIG: it
 * is something else, or says something that does not fit together. */
enum mu_status manifest_open(struct bytes envelope, const char *what,
                             const struct public_keys *keys, struct manifest *ret,
                             struct mu_error *err) MU_MUST_CHECK;
enum mu_status manifest_load(const char *path, const struct public_keys *keys, struct manifest *ret,
                             struct mu_error *err) MU_MUST_CHECK;
/* A statement that is not signed, as its builder reads it before he signs it. */
enum mu_status manifest_parse(struct bytes statement, struct manifest *ret,
                              struct mu_error *err) MU_MUST_CHECK;

/* The PCRs of the image when this boot loader starts it: PCR 4 and 7 are extended with what the
 * boot loader is measured as, before what the image is measured as (PFP 3.3.4.5, 3.3.4.8; the same
 * entry of db is measured once). *ret_fits is false if the image is for no boot loader but its own,
 * or if the two were predicted for machines with different Secure Boot keys. */
enum mu_status manifest_behind(const struct manifest *image, const struct manifest *loader,
                               enum manifest_bank bank, bool *ret_fits, struct pcr_values *ret,
                               struct mu_error *err) MU_MUST_CHECK;

/* Each way in which these may start, given to visit: an image by itself, loader NULL; and behind
 * each boot loader of the list that fits. */
typedef enum mu_status (*manifest_visit)(const struct manifest *image,
                                         const struct manifest *loader,
                                         const struct pcr_values *values, void *context,
                                         struct mu_error *err);
enum mu_status manifest_combine(const struct manifest *const *list, size_t count,
                                enum manifest_bank bank, manifest_visit visit, void *context,
                                struct mu_error *err) MU_MUST_CHECK;

#endif
