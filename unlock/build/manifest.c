/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/manifest.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "build/pe.h"
#include "build/predict.h"
#include "measure/baseline.h"

/* systemd-pcrphase.service(8): what each is measured as, in their order. */
static const char *const phases[] = {EVENTLOG_PHASES, "leave-initrd", "sysinit", "ready"};

static bool add_digest(json_object *object, enum manifest_bank bank, const struct digest *digest)
{
    char hex[2 * HASH_MAX_SIZE + 1];

    hex_encode((struct bytes){digest->bytes, hash_size(manifest_bank[bank])}, hex);
    return json_add_text(object, hash_name(manifest_bank[bank]), hex);
}

static enum mu_status add_digests(json_object *object, const char *name, struct bytes content,
                                  struct mu_error *err)
{
    json_object *digests = json_object_new_object();
    struct digest digest;

    if (!json_add(object, name, digests))
        return mu_oom(err);
    for (size_t i = 0; i < MANIFEST_BANKS; i++) {
        MU_TRY(hash_bytes(manifest_bank[i], content, &digest, err));
        if (!add_digest(digests, (enum manifest_bank)i, &digest))
            return mu_oom(err);
    }
    return MU_OK;
}

/* in-toto's ResourceDescriptor. */
static enum mu_status fill_descriptor(json_object *object, const struct manifest_file *file,
                                      struct mu_error *err)
{
    const char *slash = strrchr(file->name, '/');

    if (!json_add_text(object, "name", slash != NULL ? slash + 1 : file->name))
        return mu_oom(err);
    return add_digests(object, "digest", file->content, err);
}

static enum mu_status add_subject(json_object *statement, const struct manifest_request *q,
                                  struct mu_error *err)
{
    json_object *list = json_object_new_array();

    if (!json_add(statement, "subject", list))
        return mu_oom(err);
    for (size_t i = 0; i < q->count; i++) {
        json_object *item = json_object_new_object();

        if (!json_append(list, item))
            return mu_oom(err);
        MU_TRY(fill_descriptor(item, &q->images[i], err));
    }
    return MU_OK;
}

static enum mu_status add_secure_boot(json_object *predicate, const struct manifest_request *q,
                                      struct mu_error *err)
{
    const struct {
        const char *name;
        struct bytes content;
    } all[] = {
        {"PK", q->keys->pk}, {"KEK", q->keys->kek}, {"db", q->keys->db}, {"dbx", q->keys->dbx}};
    json_object *keys = json_object_new_object();

    if (!json_add(predicate, "secureBoot", keys) ||
        !json_add_text(keys, "state", q->keys->pk.len > 0 ? "on" : "off"))
        return mu_oom(err);
    for (size_t i = 0; i < MU_COUNT(all); i++)
        if (all[i].content.len > 0)
            MU_TRY(add_digests(keys, all[i].name, all[i].content, err));
    return MU_OK;
}

/* ---- what is predicted ---- */

struct logs {
    struct eventlog log[MANIFEST_BANKS];
};

static void logs_free(struct logs *logs)
{
    for (size_t i = 0; i < MANIFEST_BANKS; i++)
        eventlog_free(&logs->log[i]);
}

/* The banks differ in digests alone. */
static enum mu_status add_events(json_object *predicate, const struct logs *logs,
                                 struct mu_error *err)
{
    json_object *list = json_object_new_array();

    if (!json_add(predicate, "events", list))
        return mu_oom(err);
    for (size_t i = 0; i < logs->log[0].count; i++) {
        const struct event *event = &logs->log[0].event[i];
        json_object *item;

        if (!event_extends(event, event->pcr))
            continue;
        item = json_object_new_object();
        if (!json_append(list, item) ||
            !json_add(item, "pcr", json_object_new_int((int)event->pcr)))
            return mu_oom(err);
        for (size_t k = 0; k < MANIFEST_BANKS; k++) {
            enum hash_alg bank = manifest_bank[k];
            struct digest digest = {{0}};

            memcpy(digest.bytes, event_digest_of(&logs->log[k].event[i], bank), hash_size(bank));
            if (!add_digest(item, (enum manifest_bank)k, &digest))
                return mu_oom(err);
        }
    }
    return MU_OK;
}

static enum mu_status add_values(json_object *predicate, const struct logs *logs, uint32_t mask,
                                 uint32_t without, struct mu_error *err)
{
    json_object *list = json_object_new_array();

    if (!json_add(predicate, "baselines", list))
        return mu_oom(err);
    for (size_t i = 0; i < MANIFEST_BANKS; i++) {
        json_object *object = NULL;
        struct pcr_values values;

        MU_TRY(eventlog_replay(&logs->log[i], manifest_bank[i], &values, err));
        values.mask = mask; /* some have no event */
        values.without = without;
        MU_TRY(baseline_to_json(&values, &object, err));
        if (!json_append(list, object))
            return mu_oom(err);
    }
    return MU_OK;
}

/* What cannot be known in one bank cannot in the other either; it is said once. */
static enum mu_status add_prediction(json_object *predicate, struct predict_request request,
                                     const struct manifest_request *q, struct mu_error *err)
{
    MU_CLEANUP(logs_free) struct logs logs = {0};

    for (size_t i = 0; i < MANIFEST_BANKS; i++) {
        request.bank = manifest_bank[i];
        MU_TRY(predict_log(&request, &logs.log[i], &request.mask, err));
        request.optional = 0;
    }
    MU_TRY(add_events(predicate, &logs, err));
    return q->kind == MANIFEST_IMAGE ? add_values(predicate, &logs, request.mask, q->without, err)
                                     : MU_OK;
}

static enum mu_status add_phase(json_object *list, const char *name,
                                const struct digest value[static MANIFEST_BANKS],
                                struct mu_error *err)
{
    json_object *item = json_object_new_object();

    if (!json_append(list, item) || (name[0] != '\0' && !json_add_text(item, "phase", name)) ||
        !add_digest(item, MANIFEST_SHA256, &value[MANIFEST_SHA256]) ||
        !add_digest(item, MANIFEST_SHA384, &value[MANIFEST_SHA384]))
        return mu_oom(err);
    return MU_OK;
}

/* PCR 11 begins with the UKI and goes on with one phase after the other. */
static enum mu_status fill_phases(json_object *list, struct digest value[static MANIFEST_BANKS],
                                  size_t count, struct mu_error *err)
{
    char name[64] = "";

    MU_TRY(add_phase(list, name, value, err));
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(name);

        (void)snprintf(name + len, sizeof(name) - len, "%s%s", i > 0 ? ":" : "", phases[i]);
        for (size_t k = 0; k < MANIFEST_BANKS; k++) {
            struct digest word;

            MU_TRY(hash_bytes(manifest_bank[k], text_view(phases[i]), &word, err));
            MU_TRY(hash_extend(manifest_bank[k], &value[k], word.bytes, err));
        }
        MU_TRY(add_phase(list, name, value, err));
    }
    return MU_OK;
}

static enum mu_status add_phases(json_object *predicate, struct predict_request request,
                                 struct mu_error *err)
{
    json_object *list = json_object_new_array();
    struct digest value[MANIFEST_BANKS];
    const char *measured;

    if (!json_add(predicate, "phases", list))
        return mu_oom(err);
    MU_TRY(predict_phases(request.images[request.count - 1], &measured, err));
    request.mask = PCR_BIT(11);
    request.optional = 0;
    for (size_t i = 0; i < MANIFEST_BANKS; i++) {
        struct pcr_values values;

        request.bank = manifest_bank[i];
        if (predict_values(&request, &values, err) != MU_OK) {
            log_line("PCR 11 is left out: %s", err->text);
            json_object_object_del(predicate, "phases");
            return MU_OK;
        }
        value[i] = values.value[11];
    }
    return fill_phases(list, value, measured[0] != '\0' ? MU_COUNT(phases) : 0, err);
}

/* ---- the statement ---- */

static enum mu_status is_uki(struct bytes image, bool *ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer spare = {0};
    struct bytes kernel;

    MU_TRY(pe_section(image, ".linux", &spare, &kernel, err));
    *ret = kernel.len > 0;
    return MU_OK;
}

static enum mu_status add_boot(json_object *predicate, const struct manifest_request *q,
                               struct mu_error *err)
{
    struct bytes images[MANIFEST_IMAGES_MAX];
    const bool loader = q->kind == MANIFEST_BOOT_LOADER;
    struct predict_request request = {.mask = loader ? PCR_BIT(4) | PCR_BIT(7)
                                                     : BASELINE_PCRS & ~q->without,
                                      .optional = loader ? 0 : ~PCR_BIT(4),
                                      .images = images,
                                      .count = q->count,
                                      .keys = q->keys,
                                      .setup_mode = q->keys->pk.len == 0,
                                      .phases = ""};
    bool uki = false;

    for (size_t i = 0; i < q->count; i++) {
        images[i] = q->images[i].content;
        if (loader && predict_boot_loader(images[i], err) != MU_OK)
            return mu_context(err, "%s", q->images[i].name);
    }
    MU_TRY(add_secure_boot(predicate, q, err));
    MU_TRY(add_prediction(predicate, request, q, err));
    if (loader)
        return MU_OK;
    MU_TRY(is_uki(images[q->count - 1], &uki, err));
    if (!json_add_text(predicate, "bootLoader", uki && q->count == 1 ? "any" : "own"))
        return mu_oom(err);
    return uki ? add_phases(predicate, request, err) : MU_OK;
}

static enum mu_status add_amis(json_object *predicate, const struct manifest_request *q,
                               struct mu_error *err)
{
    json_object *amis = json_object_new_object();

    if (!json_add(predicate, "amis", amis))
        return mu_oom(err);
    for (size_t i = 0; i < q->ami_count; i++) {
        const char *equals = strchr(q->amis[i], '=');
        char region[64];

        if (equals == NULL || (size_t)(equals - q->amis[i]) >= sizeof(region))
            return mu_fail(err, MU_USAGE, "--ami '%.64s' is not REGION=AMI", q->amis[i]);
        (void)snprintf(region, sizeof(region), "%.*s", (int)(equals - q->amis[i]), q->amis[i]);
        if (json_object_object_get_ex(amis, region, NULL))
            return mu_fail(err, MU_USAGE, "--ami names %s twice", region);
        if (!json_add_text(amis, region, equals + 1))
            return mu_oom(err);
    }
    if (q->ami_count == 0)
        json_object_object_del(predicate, "amis");
    return MU_OK;
}

static enum mu_status fill_predicate(json_object *predicate, const struct manifest_request *q,
                                     struct mu_error *err)
{
    json_object *sbom;

    if (!json_add_text(predicate, "kind", manifest_kind_name(q->kind)) ||
        !json_add_text(predicate, "name", q->name) ||
        !json_add_text(predicate, "version", q->version) ||
        !json_add_text(predicate, "source", q->source) ||
        !json_add_text(predicate, "builder", q->builder) ||
        (q->record_version > 0 &&
         !json_add(predicate, "recordVersion", json_object_new_int64(q->record_version))))
        return mu_oom(err);
    MU_TRY(add_amis(predicate, q, err));
    if (q->sbom.name != NULL) {
        sbom = json_object_new_object();
        if (!json_add(predicate, "sbom", sbom))
            return mu_oom(err);
        MU_TRY(fill_descriptor(sbom, &q->sbom, err));
    }
    return add_boot(predicate, q, err);
}

enum mu_status manifest_make(const struct manifest_request *q, struct buffer *ret,
                             struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *statement = json_object_new_object();
    MU_CLEANUP(manifest_free) struct manifest read = {0};
    json_object *predicate = json_object_new_object();
    const char *text;

    if (!json_add(statement, "predicate", predicate) ||
        !json_add_text(statement, "_type", MANIFEST_STATEMENT_TYPE) ||
        !json_add_text(statement, "predicateType", MANIFEST_PREDICATE_TYPE))
        return mu_oom(err);
    MU_TRY(add_subject(statement, q, err));
    MU_TRY(fill_predicate(predicate, q, err));
    text = json_object_to_json_string_ext(statement,
                                          JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (text == NULL)
        return mu_oom(err);
    MU_TRY(manifest_parse(text_view(text), &read, err));
    return buffer_copy(ret, text_view(text), err);
}

enum mu_status manifest_sign(const struct signer *signer, struct bytes statement, json_object **ret,
                             struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer pae = {0};
    MU_CLEANUP(buffer_free) struct buffer signature = {0};

    MU_TRY(dsse_pae(MANIFEST_PAYLOAD_TYPE, statement, &pae, err));
    MU_TRY(signer_sign(signer, NULL, buffer_view(&pae), &signature, err));
    return dsse_wrap(MANIFEST_PAYLOAD_TYPE, statement, buffer_view(&signature), signer->key, ret,
                     err);
}
