/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/enroll.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "volume/crypt.h"
#include "volume/volume.h"

#define FRESH_KEY_SIZE 32
#define PBKDF2_ITERATIONS 1000
#define NONE (-1)

/* On disk, in this order; each step is one write of the header by libcryptsetup:
 *   1. a pending token that names the new key slot and the one to be replaced
 *   2. the new key slot
 *   3. the record, in the place of the old one
 *   4. the replaced key slot goes
 *   5. the pending token goes
 * At any time, what a pending token names and the record in force does not refer to is waste. */
struct enrolment {
    const struct enroll_request *request;
    struct crypt_session session;
    struct secret volume_key;
    int passphrase_slot; /* the one that the passphrase opened; NONE with a volume key */
    struct secret fresh;
    struct record record;
    char *token;     /* the new record */
    char *old_token; /* NULL if there was none */
    int record_id;   /* token number of the record; NONE until there is one */
    int old_slot;    /* NONE if there was no record */
};

static void enrolment_free(struct enrolment *e)
{
    crypt_session_close(&e->session);
    secret_free(&e->volume_key);
    secret_free(&e->fresh);
    record_free(&e->record);
    string_free(&e->token);
    string_free(&e->old_token);
}

static enum mu_status fail(const struct enrolment *e, int result, const char *what,
                           struct mu_error *err)
{
    (void)crypt_session_fail(&e->session, result, MU_CONFIG, what, err);
    return mu_context(err, "%s", e->request->device);
}

/* ---- tokens and key slots ---- */

static int find_token(struct crypt_device *cd, const char *type)
{
    const char *found = NULL;

    for (int id = 0; id < crypt_token_max(CRYPT_LUKS2); id++) {
        crypt_token_info info = crypt_token_status(cd, id, &found);

        if (info >= CRYPT_TOKEN_INTERNAL && found != NULL && strcmp(found, type) == 0)
            return id;
    }
    return NONE;
}

/* A slot of that number that somebody made after an interruption is not ours to remove. */
static bool slot_may_go(struct crypt_device *cd, int slot, int record_id, int keep)
{
    struct crypt_pbkdf_type pbkdf = {0};

    return crypt_keyslot_status(cd, slot) == CRYPT_SLOT_ACTIVE && slot != keep &&
           (record_id == NONE || crypt_token_is_assigned(cd, record_id, slot) != 0) &&
           crypt_keyslot_get_pbkdf(cd, slot, &pbkdf) == 0 &&
           strcmp(pbkdf.type, CRYPT_KDF_PBKDF2) == 0 && pbkdf.iterations == PBKDF2_ITERATIONS;
}

static enum mu_status pending_slots(const struct enrolment *e, int id, json_object **ret_token,
                                    json_object **ret_slots, struct mu_error *err)
{
    const char *text = NULL;
    int r = crypt_token_json_get(e->session.cd, id, &text);

    if (r < 0 || text == NULL)
        return fail(e, r, "pending token", err);
    MU_TRY(json_parse((struct bytes){(const uint8_t *)text, strlen(text)}, "pending token",
                      MU_REFUSE, ret_token, err));
    return json_member(*ret_token, "slots", json_type_array, MU_REFUSE, ret_slots, err);
}

/* Steps 4 and 5, and the same after an interruption or a failure at any step. */
static enum mu_status remove_leftovers(const struct enrolment *e, int keep, struct mu_error *err)
{
    struct crypt_device *cd = e->session.cd;
    int pending = find_token(cd, PENDING_TOKEN_TYPE);
    int record = find_token(cd, RECORD_TOKEN_TYPE);
    MU_CLEANUP(json_free) json_object *token = NULL;
    json_object *slots = NULL;
    int r;

    if (pending == NONE)
        return MU_OK;
    MU_TRY(pending_slots(e, pending, &token, &slots, err));
    for (size_t i = 0; i < json_object_array_length(slots); i++) {
        json_object *item = json_object_array_get_idx(slots, i);
        int slot = json_object_get_int(item);

        if (!json_object_is_type(item, json_type_int) || !slot_may_go(cd, slot, record, keep))
            continue;
        r = crypt_keyslot_destroy(cd, slot);
        if (r < 0)
            return fail(e, r, "removing a key slot", err);
    }
    r = crypt_token_json_set(cd, pending, NULL);
    return r < 0 ? fail(e, r, "removing the pending token", err) : MU_OK;
}

static enum mu_status set_pending(const struct enrolment *e, struct mu_error *err)
{
    char slots[32];
    char text[128];
    int r;

    if (e->old_slot == NONE)
        (void)snprintf(slots, sizeof(slots), "%d", e->record.keyslot);
    else
        (void)snprintf(slots, sizeof(slots), "%d,%d", e->record.keyslot, e->old_slot);
    (void)snprintf(text, sizeof(text), "{\"type\":\"%s\",\"keyslots\":[],\"slots\":[%s]}",
                   PENDING_TOKEN_TYPE, slots);
    r = crypt_token_json_set(e->session.cd, CRYPT_ANY_TOKEN, text);
    return r < 0 ? fail(e, r, "writing the pending token", err) : MU_OK;
}

static enum mu_status add_keyslot(const struct enrolment *e, struct mu_error *err)
{
    static const struct crypt_pbkdf_type pbkdf = {.type = CRYPT_KDF_PBKDF2,
                                                  .hash = "sha256",
                                                  .iterations = PBKDF2_ITERATIONS,
                                                  .flags = CRYPT_PBKDF_NO_BENCHMARK};
    struct crypt_device *cd = e->session.cd;
    int r = crypt_set_pbkdf_type(cd, &pbkdf);

    if (r == 0)
        r = crypt_keyslot_set_encryption(cd, "aes-xts-plain64", LUKS_VOLUME_KEY_SIZE);
    if (r == 0)
        r = crypt_keyslot_add_by_key(cd, e->record.keyslot, (const char *)e->volume_key.data,
                                     e->volume_key.len, (const char *)e->fresh.data, e->fresh.len,
                                     0);
    return r == e->record.keyslot ? MU_OK : fail(e, r, "adding a key slot", err);
}

/* ---- before anything is written ---- */

static enum mu_status load_header(const char *device, struct luks_header *ret, struct mu_error *err)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};

    MU_TRY(luks_header_load(device, &header, err));
    MU_TRY(luks_header_check(&header, NULL, err));
    *ret = header;
    header = (struct luks_header){0};
    return MU_OK;
}

static enum mu_status get_volume_key(struct enrolment *e, struct mu_error *err)
{
    const struct enroll_request *q = e->request;
    struct crypt_device *cd = e->session.cd;
    size_t len = LUKS_VOLUME_KEY_SIZE;
    int r;

    MU_TRY(secret_alloc(&e->volume_key, len, err));
    if (q->passphrase != NULL) {
        r = crypt_volume_key_get(cd, CRYPT_ANY_SLOT, (char *)e->volume_key.data, &len,
                                 (const char *)q->passphrase->data, q->passphrase->len);
        e->passphrase_slot = r;
    } else if (q->volume_key != NULL && q->volume_key->len == len) {
        memcpy(e->volume_key.data, q->volume_key->data, len);
        r = crypt_volume_key_verify(cd, (const char *)e->volume_key.data, len);
    } else {
        return mu_fail(err, MU_CONFIG, "the volume key has %zu bytes instead of %zu",
                       q->volume_key != NULL ? q->volume_key->len : 0, len);
    }
    if (r == -EPERM)
        return mu_fail(err, MU_REFUSE, "%s: that %s does not open the volume", q->device,
                       q->passphrase != NULL ? "passphrase" : "volume key");
    if (r < 0 || len != LUKS_VOLUME_KEY_SIZE)
        return fail(e, r, "opening the volume", err);
    return MU_OK;
}

/* The record that will be replaced. Its signature does not matter here: it is not used but for the
 * next version, and it may be by an earlier key. */
static enum mu_status find_old(struct enrolment *e, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *token = NULL;
    MU_CLEANUP(record_free) struct record old = {0};
    const char *text = NULL;
    struct mu_error why = {0};
    int64_t version = 0;

    e->record_id = find_token(e->session.cd, RECORD_TOKEN_TYPE);
    if (e->record_id != NONE) {
        int r = crypt_token_json_get(e->session.cd, e->record_id, &text);

        if (r < 0 || text == NULL)
            return fail(e, r, "present record", err);
        e->old_token = strdup(text);
        if (e->old_token == NULL)
            return mu_oom(err);
        if (json_parse((struct bytes){(const uint8_t *)text, strlen(text)}, "present record",
                       MU_REFUSE, &token, &why) == MU_OK &&
            record_parse_token_unverified(token, &old, &why) == MU_OK) {
            version = old.version;
            e->old_slot = old.keyslot;
        } else if (e->request->record_version == 0) {
            return mu_fail(err, MU_CONFIG,
                           "%s: the present record cannot be read (%.200s); give --record-version",
                           e->request->device, why.text);
        }
    }
    if (e->request->record_version == 0 && version >= INT64_MAX - 1)
        return mu_fail(err, MU_CONFIG, "the present record has the last version there is");
    version = version + 1 > e->request->minimum_version ? version + 1 : e->request->minimum_version;
    e->record.version = e->request->record_version != 0 ? e->request->record_version : version;
    return MU_OK;
}

static enum mu_status choose_slot(struct enrolment *e, struct mu_error *err)
{
    for (int slot = 0; slot < LUKS_KEYSLOTS_MAX; slot++) {
        if (crypt_keyslot_status(e->session.cd, slot) != CRYPT_SLOT_INACTIVE)
            continue;
        e->record.keyslot = slot;
        return MU_OK;
    }
    return mu_fail(err, MU_CONFIG, "%s: no key slot is free", e->request->device);
}

static enum mu_status set_baselines(struct enrolment *e, struct mu_error *err)
{
    const struct enroll_request *q = e->request;
    struct record *record = &e->record;
    time_t now = time(NULL);
    struct tm utc;

    if (q->baselines < 1 || q->baselines > RECORD_BASELINES_MAX)
        return mu_fail(err, MU_CONFIG, "a record holds 1 to %d baselines, not %zu",
                       RECORD_BASELINES_MAX, q->baselines);
    memcpy(record->baseline, q->baseline, q->baselines * sizeof(*q->baseline));
    record->baselines = q->baselines;
    if (gmtime_r(&now, &utc) == NULL ||
        strftime(record->created, sizeof(record->created), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        return mu_fail(err, MU_CONFIG, "the clock is wrong");
    return MU_OK;
}

static enum mu_status fill_record(struct enrolment *e, const char *uuid, struct mu_error *err)
{
    const struct enroll_request *q = e->request;
    struct record *record = &e->record;

    MU_TRY(set_baselines(e, err));
    (void)snprintf(record->volume_uuid, sizeof(record->volume_uuid), "%s", uuid);
    MU_TRY(volume_identity(&e->volume_key, uuid, record->volume_identity, err));
    MU_TRY(secret_random(&e->fresh, FRESH_KEY_SIZE, err));
    MU_TRY(q->seal(secret_view(&e->fresh), record, q->seal_context, err));
    return record_make_token(record, q->signing_key, &e->token, err);
}

static enum mu_status prepare(struct enrolment *e, struct mu_error *err)
{
    const char *device = e->request->device;
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};

    /* libcryptsetup first: it repairs what an interrupted write of the header left. */
    MU_TRY(crypt_session_open(&e->session, device, NULL, err));
    if (load_header(device, &header, err) != MU_OK)
        return mu_context(err,
                          "this volume cannot be enrolled (one that can is made by `cryptsetup "
                          "luksFormat --type luks2 --cipher aes-xts-plain64 --key-size 512`)");
    MU_TRY(get_volume_key(e, err));
    MU_TRY(remove_leftovers(e, e->passphrase_slot, err));
    MU_TRY(find_old(e, err));
    MU_TRY(choose_slot(e, err));
    return fill_record(e, header.uuid, err);
}

/* ---- writing ---- */

/* As a boot will do it, from the disk. */
static enum mu_status verify_keyslot(const struct enrolment *e, struct mu_error *err)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};
    MU_CLEANUP(secret_free) struct secret volume_key = {0};

    MU_TRY(load_header(e->request->device, &header, err));
    MU_TRY(luks_header_load_keyslot(&header, e->record.keyslot, err));
    MU_TRY(volume_open_keyslot(&header, e->record.keyslot, &e->fresh, &volume_key, err));
    if (!bytes_equal(secret_view(&volume_key), secret_view(&e->volume_key)))
        return mu_fail(err, MU_REFUSE, "%s: the new key slot holds another key",
                       e->request->device);
    return MU_OK;
}

static enum mu_status verify_record(const struct enrolment *e, struct mu_error *err)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};
    MU_CLEANUP(record_free) struct record record = {0};
    json_object *token = NULL;

    MU_TRY(load_header(e->request->device, &header, err));
    MU_TRY(luks_header_record_token(&header, &token, err));
    MU_TRY(record_parse_token(token, e->request->signing_key, &record, err));
    return record_check(&record, header.uuid, e->record.version, err);
}

static enum mu_status write_record(struct enrolment *e, struct mu_error *err)
{
    int r = crypt_token_json_set(e->session.cd,
                                 e->record_id != NONE ? e->record_id : CRYPT_ANY_TOKEN, e->token);

    if (r < 0)
        return fail(e, r, "writing the record (is the header full?)", err);
    e->record_id = r;
    return verify_record(e, err);
}

static enum mu_status write_all(struct enrolment *e, struct mu_error *err)
{
    MU_TRY(set_pending(e, err));
    MU_TRY(add_keyslot(e, err));
    MU_TRY(verify_keyslot(e, err));
    return write_record(e, err);
}

/* The old record comes back first, so that its key slot is never the one that goes. */
static void roll_back(struct enrolment *e)
{
    struct mu_error ignored;

    if (e->record_id != NONE && crypt_token_json_set(e->session.cd, e->record_id, e->old_token) < 0)
        return;
    if (remove_leftovers(e, e->passphrase_slot, &ignored) != MU_OK)
        return; /* the next run tries again */
}

enum mu_status enroll(const struct enroll_request *request, struct record *ret,
                      struct mu_error *err)
{
    MU_CLEANUP(enrolment_free)
    struct enrolment e = {
        .request = request, .passphrase_slot = NONE, .record_id = NONE, .old_slot = NONE};
    sigset_t all;
    sigset_t before;
    enum mu_status status;

    MU_TRY(prepare(&e, err));
    /* What can be put off is put off until the header is whole. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    status = write_all(&e, err);
    if (status != MU_OK)
        roll_back(&e);
    else
        status = remove_leftovers(&e, NONE, err);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != MU_OK)
        return status;
    *ret = e.record;
    e.record = (struct record){0};
    return MU_OK;
}

/* ---- other baselines for the record that is there ---- */

static enum mu_status take_old(struct enrolment *e, struct mu_error *err)
{
    const char *device = e->request->device;
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};
    json_object *token = NULL;
    int64_t version;

    MU_TRY(crypt_session_open(&e->session, device, NULL, err));
    MU_TRY(load_header(device, &header, err));
    MU_TRY(luks_header_record_token(&header, &token, err));
    MU_TRY(find_old(e, err));
    version = e->record.version;
    if (record_token_by_instance(token))
        return mu_fail(
            err, MU_REFUSE,
            "%s was made by an instance and has no baselines: KMS's key policy says what "
            "may open it. --volume-key-file enrolls it with baselines",
            e->request->device);
    /* What somebody else wrote there gets no signature. */
    MU_TRY(record_parse_token(token, e->request->signing_key, &e->record, err));
    MU_TRY(record_check(&e->record, header.uuid, 1, err));
    e->record.version = version;
    return MU_OK;
}

enum mu_status enroll_resign(const struct enroll_request *request, struct record *ret,
                             struct mu_error *err)
{
    MU_CLEANUP(enrolment_free)
    struct enrolment e = {
        .request = request, .passphrase_slot = NONE, .record_id = NONE, .old_slot = NONE};
    enum mu_status status;

    MU_TRY(take_old(&e, err));
    MU_TRY(set_baselines(&e, err));
    MU_TRY(request->seal((struct bytes){0}, &e.record, request->seal_context, err));
    MU_TRY(record_make_token(&e.record, request->signing_key, &e.token, err));
    status = write_record(&e, err);
    if (status != MU_OK) {
        roll_back(&e);
        return status;
    }
    *ret = e.record;
    e.record = (struct record){0};
    return MU_OK;
}
