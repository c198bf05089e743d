/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/ini.h"
#include "base/text.h"
#include "measure/baseline.h"

#define RECORD_VERSION_MAX (INT64_MAX - 1)
#define PHASES_MAX 8
#define AMIS_MAX 64
#define LOADER_PCRS (PCR_BIT(4) | PCR_BIT(7))

const enum hash_alg manifest_bank[MANIFEST_BANKS] = {HASH_SHA256, HASH_SHA384};

static const char *const kind_names[] = {"image", "boot-loader"};

const char *manifest_kind_name(enum manifest_kind kind)
{
    return kind_names[kind];
}

void manifest_free(struct manifest *manifest)
{
    json_free(&manifest->statement);
    *manifest = (struct manifest){0};
}

/* ---- members ---- */

static enum mu_status read_text(json_object *object, const char *name, size_t max, const char **ret,
                                struct mu_error *err)
{
    MU_TRY(json_string(object, name, max, MU_CONFIG, ret, err));
    if (!text_is_printable(text_view(*ret)))
        return mu_fail(err, MU_CONFIG, "\"%s\" is not printable ASCII", name);
    return MU_OK;
}

/* The digests of both banks, which are members of the object itself. */
static enum mu_status read_digests(json_object *object, struct digest ret[static MANIFEST_BANKS],
                                   struct mu_error *err)
{
    for (size_t i = 0; i < MANIFEST_BANKS; i++) {
        const char *name = hash_name(manifest_bank[i]), *hex;
        size_t size = hash_size(manifest_bank[i]);

        MU_TRY(json_string(object, name, 2 * size, MU_CONFIG, &hex, err));
        if (strlen(hex) != 2 * size || !hex_decode(hex, ret[i].bytes, size))
            return mu_fail(err, MU_CONFIG, "\"%s\" is not %zu hex digits", name, 2 * size);
    }
    return MU_OK;
}

/* An in-toto ResourceDescriptor with a name and these digests alone, or what has only them. */
static enum mu_status check_descriptor(json_object *object, bool named, struct mu_error *err)
{
    static const char *const members[] = {"digest", "name", NULL};
    static const char *const algorithms[] = {"sha256", "sha384", NULL};
    struct digest unused[MANIFEST_BANKS];
    json_object *digest = object;
    const char *name;

    if (named) {
        MU_TRY(json_only(object, "a descriptor", members, MU_CONFIG, err));
        MU_TRY(read_text(object, "name", MANIFEST_TEXT_MAX, &name, err));
        MU_TRY(json_member(object, "digest", json_type_object, MU_CONFIG, &digest, err));
    }
    MU_TRY(json_only(digest, "\"digest\"", algorithms, MU_CONFIG, err));
    return read_digests(digest, unused, err);
}

static enum mu_status read_list(json_object *object, const char *name, size_t min, size_t max,
                                json_object **ret, size_t *ret_count, struct mu_error *err)
{
    MU_TRY(json_member(object, name, json_type_array, MU_CONFIG, ret, err));
    *ret_count = json_object_array_length(*ret);
    if (*ret_count < min || *ret_count > max)
        return mu_fail(err, MU_CONFIG, "\"%s\" has %zu elements, not %zu to %zu", name, *ret_count,
                       min, max);
    return MU_OK;
}

static enum mu_status check_subject(json_object *statement, struct mu_error *err)
{
    json_object *list = NULL;
    size_t count = 0;

    MU_TRY(read_list(statement, "subject", 1, MANIFEST_IMAGES_MAX, &list, &count, err));
    for (size_t i = 0; i < count; i++)
        MU_TRY(check_descriptor(json_object_array_get_idx(list, i), true, err));
    return MU_OK;
}

static enum mu_status check_secure_boot(json_object *predicate, struct mu_error *err)
{
    static const char *const members[] = {"PK", "KEK", "db", "dbx", "state", NULL};
    json_object *keys = NULL;
    const char *state;

    MU_TRY(json_member(predicate, "secureBoot", json_type_object, MU_CONFIG, &keys, err));
    MU_TRY(json_only(keys, "\"secureBoot\"", members, MU_CONFIG, err));
    MU_TRY(json_string(keys, "state", 8, MU_CONFIG, &state, err));
    if (strcmp(state, "on") != 0 && strcmp(state, "off") != 0)
        return mu_fail(err, MU_CONFIG, "\"state\" of Secure Boot is neither on nor off");
    json_object_object_foreach(keys, name, digests)
    {
        if (strcmp(name, "state") != 0)
            MU_TRY(check_descriptor(digests, false, err));
    }
    return MU_OK;
}

/* PCR 11 after the boot phases with that name, as systemd-pcrphase measures them. */
static enum mu_status check_phases(json_object *predicate, struct mu_error *err)
{
    static const char *const members[] = {"phase", "sha256", "sha384", NULL};
    struct digest unused[MANIFEST_BANKS];
    json_object *list = NULL;
    size_t count = 0;

    if (!json_object_object_get_ex(predicate, "phases", NULL))
        return MU_OK;
    MU_TRY(read_list(predicate, "phases", 1, PHASES_MAX, &list, &count, err));
    for (size_t i = 0; i < count; i++) {
        json_object *item = json_object_array_get_idx(list, i);
        const char *phase;

        MU_TRY(json_only(item, "\"phases\"", members, MU_CONFIG, err));
        if (json_object_object_get_ex(item, "phase", NULL))
            MU_TRY(read_text(item, "phase", MANIFEST_TEXT_MAX, &phase, err));
        MU_TRY(read_digests(item, unused, err));
    }
    return MU_OK;
}

static enum mu_status check_amis(json_object *predicate, struct mu_error *err)
{
    json_object *amis = NULL;

    if (!json_object_object_get_ex(predicate, "amis", &amis))
        return MU_OK;
    MU_TRY(json_member(predicate, "amis", json_type_object, MU_CONFIG, &amis, err));
    if (json_object_object_length(amis) > AMIS_MAX)
        return mu_fail(err, MU_CONFIG, "\"amis\" names more than %d regions", AMIS_MAX);
    json_object_object_foreach(amis, region, ami)
    {
        const char *id = json_object_get_string(ami);

        if (!bytes_all_of(text_view(region), "abcdefghijklmnopqrstuvwxyz0123456789-") ||
            !json_object_is_type(ami, json_type_string) || strncmp(id, "ami-", 4) != 0 ||
            !bytes_all_of(text_view(id + 4), "0123456789abcdef") || strlen(id) > 21)
            return mu_fail(err, MU_CONFIG, "\"amis\": not a region and the id of an AMI in it");
    }
    return MU_OK;
}

static enum mu_status read_kind(json_object *predicate, struct manifest *ret, struct mu_error *err)
{
    const char *kind, *loader = "";
    bool is_loader;

    MU_TRY(json_string(predicate, "kind", 16, MU_CONFIG, &kind, err));
    is_loader = strcmp(kind, kind_names[MANIFEST_BOOT_LOADER]) == 0;
    if (!is_loader && strcmp(kind, kind_names[MANIFEST_IMAGE]) != 0)
        return mu_fail(err, MU_CONFIG, "\"kind\" is '%s': neither image nor boot-loader", kind);
    ret->kind = is_loader ? MANIFEST_BOOT_LOADER : MANIFEST_IMAGE;
    if (is_loader)
        return MU_OK;
    MU_TRY(json_string(predicate, "bootLoader", 8, MU_CONFIG, &loader, err));
    ret->any_loader = strcmp(loader, "any") == 0;
    if (!ret->any_loader && strcmp(loader, "own") != 0)
        return mu_fail(err, MU_CONFIG, "\"bootLoader\" is '%s': neither any nor own", loader);
    return MU_OK;
}

static enum mu_status read_events(json_object *predicate, struct manifest *ret,
                                  struct mu_error *err)
{
    static const char *const members[] = {"pcr", "sha256", "sha384", NULL};
    json_object *list = NULL;
    size_t count = 0;

    MU_TRY(read_list(predicate, "events", 1, MANIFEST_EVENTS_MAX, &list, &count, err));
    for (size_t i = 0; i < count; i++) {
        json_object *item = json_object_array_get_idx(list, i);
        int64_t pcr = 0;

        MU_TRY(json_only(item, "\"events\"", members, MU_CONFIG, err));
        MU_TRY(json_integer(item, "pcr", 0, PCR_COUNT - 1, MU_CONFIG, &pcr, err));
        MU_TRY(read_digests(item, ret->event[i].digest, err));
        ret->event[i].pcr = (unsigned)pcr;
    }
    ret->events = count;
    return MU_OK;
}

static enum mu_status read_values(json_object *predicate, struct manifest *ret,
                                  struct mu_error *err)
{
    static const char *const members[] = {"Measurements", "Without", NULL};
    json_object *list = NULL;
    size_t count = 0;

    MU_TRY(read_list(predicate, "baselines", MANIFEST_BANKS, MANIFEST_BANKS, &list, &count, err));
    for (size_t i = 0; i < count; i++) {
        json_object *item = json_object_array_get_idx(list, i);

        MU_TRY(json_only(item, "\"baselines\"", members, MU_CONFIG, err));
        MU_TRY(baseline_parse_object(item, "\"baselines\"", &ret->values[i], err));
        if (ret->values[i].bank != manifest_bank[i])
            return mu_fail(err, MU_CONFIG, "\"baselines\" are of SHA256 and then of SHA384");
    }
    if (ret->values[0].mask != ret->values[1].mask ||
        ret->values[0].without != ret->values[1].without)
        return mu_fail(err, MU_CONFIG, "the two \"baselines\" name different PCRs");
    return baseline_check_complete(&ret->values[MANIFEST_SHA384], PCR_COUNT, err);
}

/* ---- events ---- */

static enum mu_status extend_with(const struct manifest_event *event, enum manifest_bank bank,
                                  struct digest *pcr, struct mu_error *err)
{
    return hash_extend(manifest_bank[bank], pcr, event->digest[bank].bytes, err);
}

static struct bytes digest_of(const struct manifest_event *event, enum manifest_bank bank)
{
    return (struct bytes){event->digest[bank].bytes, hash_size(manifest_bank[bank])};
}

/* What a builder predicted is what his events lead to. */
static enum mu_status check_replay(const struct manifest *m, struct mu_error *err)
{
    uint32_t named = m->kind == MANIFEST_BOOT_LOADER ? LOADER_PCRS : m->values[0].mask;

    for (size_t i = 0; i < m->events; i++)
        if ((named & PCR_BIT(m->event[i].pcr)) == 0)
            return mu_fail(err, MU_CONFIG, "an event is of PCR %u, which is not predicted",
                           m->event[i].pcr);
    for (size_t k = 0; m->kind == MANIFEST_IMAGE && k < MANIFEST_BANKS; k++) {
        struct pcr_values replayed = {.bank = manifest_bank[k], .mask = named};

        for (size_t i = 0; i < m->events; i++)
            MU_TRY(extend_with(&m->event[i], (enum manifest_bank)k,
                               &replayed.value[m->event[i].pcr], err));
        if ((pcr_differing(&m->values[k], &replayed) & named) != 0)
            return mu_fail(err, MU_CONFIG, "the events do not lead to the %s values",
                           hash_name(manifest_bank[k]));
    }
    return MU_OK;
}

/* The events of a PCR in order: the n-th, or NULL. */
static const struct manifest_event *event_of(const struct manifest *m, unsigned pcr, size_t n)
{
    for (size_t i = 0; i < m->events; i++)
        if (m->event[i].pcr == pcr && n-- == 0)
            return &m->event[i];
    return NULL;
}

/* How many events of this PCR there are up to its separator (PFP 3.3.4), which ends what the
 * machine is measured as; 0 if it has none. */
static enum mu_status count_before(const struct manifest *m, unsigned pcr, size_t *ret,
                                   struct mu_error *err)
{
    static const uint8_t zeros[4] = {0};
    const struct manifest_event *event;
    struct digest separator;

    MU_TRY(hash_bytes(HASH_SHA384, (struct bytes){zeros, sizeof(zeros)}, &separator, err));
    *ret = 0;
    for (size_t i = 0; (event = event_of(m, pcr, i)) != NULL; i++) {
        if (!bytes_equal(digest_of(event, MANIFEST_SHA384),
                         (struct bytes){separator.bytes, hash_size(HASH_SHA384)}))
            continue;
        *ret = i + 1;
        break;
    }
    return MU_OK;
}

static bool has_event(const struct manifest *m, unsigned pcr, size_t from,
                      const struct manifest_event *wanted, enum manifest_bank bank)
{
    const struct manifest_event *event;

    for (size_t i = from; (event = event_of(m, pcr, i)) != NULL; i++)
        if (bytes_equal(digest_of(event, bank), digest_of(wanted, bank)))
            return true;
    return false;
}

/* One PCR of the two together: what both begin with, what the loader adds, what the image adds. */
static enum mu_status join(const struct manifest *image, const struct manifest *loader,
                           unsigned pcr, enum manifest_bank bank, bool *ret_fits,
                           struct digest *ret, struct mu_error *err)
{
    const struct manifest_event *event;
    size_t common, others;

    MU_TRY(count_before(image, pcr, &common, err));
    MU_TRY(count_before(loader, pcr, &others, err));
    *ret = (struct digest){{0}};
    *ret_fits = common > 0 && common == others;
    for (size_t i = 0; *ret_fits && i < common; i++)
        *ret_fits = bytes_equal(digest_of(event_of(image, pcr, i), bank),
                                digest_of(event_of(loader, pcr, i), bank));
    for (size_t i = 0; *ret_fits && (event = event_of(loader, pcr, i)) != NULL; i++)
        MU_TRY(extend_with(event, bank, ret, err));
    for (size_t i = common; *ret_fits && (event = event_of(image, pcr, i)) != NULL; i++)
        if (pcr != 7 || !has_event(loader, pcr, common, event, bank))
            MU_TRY(extend_with(event, bank, ret, err));
    return MU_OK;
}

enum mu_status manifest_behind(const struct manifest *image, const struct manifest *loader,
                               enum manifest_bank bank, bool *ret_fits, struct pcr_values *ret,
                               struct mu_error *err)
{
    *ret_fits =
        image->kind == MANIFEST_IMAGE && image->any_loader && loader->kind == MANIFEST_BOOT_LOADER;
    *ret = image->values[bank];
    for (unsigned pcr = 0; *ret_fits && pcr < PCR_COUNT; pcr++)
        if ((ret->mask & PCR_BIT(pcr) & LOADER_PCRS) != 0)
            MU_TRY(join(image, loader, pcr, bank, ret_fits, &ret->value[pcr], err));
    return MU_OK;
}

static enum mu_status combine_one(const struct manifest *image, const struct manifest *const *list,
                                  size_t count, enum manifest_bank bank, manifest_visit visit,
                                  void *context, struct mu_error *err)
{
    MU_TRY(visit(image, NULL, &image->values[bank], context, err));
    for (size_t i = 0; i < count; i++) {
        struct pcr_values values;
        bool fits;

        MU_TRY(manifest_behind(image, list[i], bank, &fits, &values, err));
        if (fits)
            MU_TRY(visit(image, list[i], &values, context, err));
    }
    return MU_OK;
}

enum mu_status manifest_combine(const struct manifest *const *list, size_t count,
                                enum manifest_bank bank, manifest_visit visit, void *context,
                                struct mu_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (list[i]->kind == MANIFEST_IMAGE)
            MU_TRY(combine_one(list[i], list, count, bank, visit, context, err));
    return MU_OK;
}

/* ---- the statement ---- */

static enum mu_status read_predicate(json_object *predicate, struct manifest *ret,
                                     struct mu_error *err)
{
    static const char *const members[] = {
        "kind",   "name",   "version", "source", "builder",   "bootLoader", "recordVersion",
        "events", "phases", "amis",    "sbom",   "baselines", "secureBoot", NULL};
    json_object *sbom;

    MU_TRY(json_only(predicate, "\"predicate\"", members, MU_CONFIG, err));
    MU_TRY(read_kind(predicate, ret, err));
    MU_TRY(read_text(predicate, "name", MANIFEST_NAME_MAX, &ret->name, err));
    MU_TRY(read_text(predicate, "version", MANIFEST_NAME_MAX, &ret->version, err));
    if (!ini_is_name(ret->name) || !text_is_word(text_view(ret->version)))
        return mu_fail(err, MU_CONFIG, "\"name\" and \"version\" are words");
    MU_TRY(read_text(predicate, "source", MANIFEST_TEXT_MAX, &ret->source, err));
    MU_TRY(read_text(predicate, "builder", MANIFEST_TEXT_MAX, &ret->builder, err));
    if (json_object_object_get_ex(predicate, "recordVersion", NULL))
        MU_TRY(json_integer(predicate, "recordVersion", 1, RECORD_VERSION_MAX, MU_CONFIG,
                            &ret->record_version, err));
    if (json_object_object_get_ex(predicate, "sbom", &sbom))
        MU_TRY(check_descriptor(sbom, true, err));
    MU_TRY(check_secure_boot(predicate, err));
    MU_TRY(check_phases(predicate, err));
    MU_TRY(check_amis(predicate, err));
    MU_TRY(read_events(predicate, ret, err));
    if (ret->kind == MANIFEST_IMAGE)
        MU_TRY(read_values(predicate, ret, err));
    return check_replay(ret, err);
}

static enum mu_status read_statement(struct manifest *ret, struct mu_error *err)
{
    static const char *const members[] = {"_type", "subject", "predicateType", "predicate", NULL};
    json_object *predicate = NULL;
    const char *type;

    MU_TRY(json_only(ret->statement, "the statement", members, MU_CONFIG, err));
    MU_TRY(json_string(ret->statement, "_type", 128, MU_CONFIG, &type, err));
    if (strcmp(type, MANIFEST_STATEMENT_TYPE) != 0)
        return mu_fail(err, MU_CONFIG, "_type is '%.64s', not '" MANIFEST_STATEMENT_TYPE "'", type);
    MU_TRY(json_string(ret->statement, "predicateType", 128, MU_CONFIG, &type, err));
    if (strcmp(type, MANIFEST_PREDICATE_TYPE) != 0)
        return mu_fail(err, MU_CONFIG,
                       "predicateType is '%.64s', not '" MANIFEST_PREDICATE_TYPE
                       "': this is no manifest of an image",
                       type);
    MU_TRY(check_subject(ret->statement, err));
    MU_TRY(json_member(ret->statement, "predicate", json_type_object, MU_CONFIG, &predicate, err));
    return read_predicate(predicate, ret, err);
}

enum mu_status manifest_parse(struct bytes statement, struct manifest *ret, struct mu_error *err)
{
    MU_CLEANUP(manifest_free) struct manifest manifest = {0};
    struct digest digest;

    MU_TRY(hash_bytes(HASH_SHA256, statement, &digest, err));
    hex_encode((struct bytes){digest.bytes, hash_size(HASH_SHA256)}, manifest.id);
    MU_TRY(json_parse(statement, "the statement", MU_CONFIG, &manifest.statement, err));
    MU_TRY(read_statement(&manifest, err));
    *ret = MU_TAKE(manifest);
    return MU_OK;
}

enum mu_status manifest_open(struct bytes envelope, const char *what,
                             const struct public_keys *keys, struct manifest *ret,
                             struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer statement = {0};

    MU_TRY(dsse_open(envelope, what, MANIFEST_PAYLOAD_TYPE, keys, &statement, err));
    if (manifest_parse(buffer_view(&statement), ret, err) != MU_OK)
        return mu_context(err, "%s", what);
    return MU_OK;
}

enum mu_status manifest_load(const char *path, const struct public_keys *keys, struct manifest *ret,
                             struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer envelope = {0};

    MU_TRY(file_read(path, DSSE_MAX_BYTES, &envelope, err));
    return manifest_open(buffer_view(&envelope), path, keys, ret, err);
}
