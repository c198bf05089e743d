/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/enroll.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "volume/cryptsetup.h"
#include "volume/open.h"
#include "volume/record_admission.h"

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
    struct record old; /* the present record, if the signing key signed it: version > 0 */
    char *token;       /* the new record */
    char *old_token;   /* NULL if there was none */
    int record_id;     /* token number of the record; NONE until there is one */
    int old_slot;      /* NONE if there was no record */
};

static void enrolment_free(struct enrolment *e)
{
    crypt_session_close(&e->session);
    secret_free(&e->volume_key);
    secret_free(&e->fresh);
    record_free(&e->record);
    record_free(&e->old);
    string_free(&e->token);
    string_free(&e->old_token);
}

static enum mu_status enroll_fail(const struct enrolment *e, int result, const char *what,
                                  struct mu_error *err)
{
    (void)crypt_session_fail(&e->session, result, MU_CONFIG, what, err);
    return mu_context(err, "%s", e->request->device);
}

/* ---- tokens and key slots ---- */

static struct public_keys present_key(const struct enroll_request *request)
{
    return (struct public_keys){
        {request->present_key != NULL ? request->present_key : request->signer->key}, 1};
}

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

/* A slot of that number that was made by other hands after an interruption must not be removed. */
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
        return enroll_fail(e, r, "pending token", err);
    MU_TRY(json_parse(text_view(text), "pending token", MU_REFUSE, ret_token, err));
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
            return enroll_fail(e, r, "removing a key slot", err);
    }
    r = crypt_token_json_set(cd, pending, NULL);
    return r < 0 ? enroll_fail(e, r, "removing the pending token", err) : MU_OK;
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
    return r < 0 ? enroll_fail(e, r, "writing the pending token", err) : MU_OK;
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
    return r == e->record.keyslot ? MU_OK : enroll_fail(e, r, "adding a key slot", err);
}

/* ---- before anything is written ---- */

static enum mu_status load_header(const char *device, struct luks_header *ret, struct mu_error *err)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};

    MU_TRY(luks_header_load(device, &header, err));
    MU_TRY(luks_header_check(&header, NULL, err));
    *ret = MU_TAKE(header);
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
        return enroll_fail(e, r, "opening the volume", err);
    return MU_OK;
}

static enum mu_status read_token(struct enrolment *e, json_object **ret, struct mu_error *err)
{
    const char *text = NULL;
    int r = crypt_token_json_get(e->session.cd, e->record_id, &text);

    if (r < 0 || text == NULL)
        return enroll_fail(e, r, "present record", err);
    MU_TRY(string_set(&e->old_token, text, err));
    return json_parse(text_view(text), "present record", MU_REFUSE, ret, err);
}

/* The record that will be replaced. Of a record that is not this builder's, only the key slot that
 * it names matters: that slot goes if slot_may_go(). */
static enum mu_status find_old(struct enrolment *e, struct mu_error *err)
{
    const struct enroll_request *q = e->request;
    MU_CLEANUP(json_free) json_object *token = NULL;
    MU_CLEANUP(record_free) struct record claimed = {0};
    const struct public_keys keys = present_key(q);
    struct mu_error why = {0}, ignored;

    e->record_id = find_token(e->session.cd, RECORD_TOKEN_TYPE);
    if (e->record_id == NONE)
        return MU_OK;
    MU_TRY(read_token(e, &token, err));
    if (record_parse_token(token, &keys, &e->old, &why) == MU_OK) {
        e->old_slot = e->old.keyslot;
        return MU_OK;
    }
    if (record_parse_token_unverified(token, &claimed, &ignored) == MU_OK)
        e->old_slot = claimed.keyslot;
    if (record_token_by_instance(token) || q->record_version != 0 || q->minimum_version != 0)
        return MU_OK;
    return mu_fail(err, MU_REFUSE,
                   "%s: the present record is not this builder's, so the next version cannot be "
                   "counted from it (%.200s): give --record-version, or with --config a "
                   "configuration that says minimum_record_version",
                   q->device, why.text);
}

/* A version too high to be reached by later ones can never be locked out. */
static enum mu_status choose_version(struct enrolment *e, struct mu_error *err)
{
    const struct enroll_request *q = e->request;
    int64_t least = e->old.version > q->minimum_version ? e->old.version : q->minimum_version;
    int64_t next =
        e->old.version + 1 > q->minimum_version ? e->old.version + 1 : q->minimum_version;

    if (q->record_version == 0 && e->old.version >= INT64_MAX - 1)
        return mu_fail(err, MU_CONFIG, "the present record has the highest possible version");
    e->record.version = q->record_version != 0 ? q->record_version : next;
    if (e->record.version > least && e->record.version - least > ENROLL_VERSION_STEP)
        return mu_fail(err, MU_REFUSE,
                       "record version %lld is too far above %lld: a step is at most %d",
                       (long long)e->record.version, (long long)least, ENROLL_VERSION_STEP);
    return MU_OK;
}

/* A copy of the header does not show how large the device is. */
static enum mu_status set_geometry(struct enrolment *e, const struct luks_header *header,
                                   struct mu_error *err)
{
    const struct enroll_request *q = e->request;
    struct volume_geometry *geometry = &e->record.geometry;

    *geometry = header->geometry;
    if (!luks_header_is_copy(header)) {
        if (q->device_size != 0 && q->device_size != geometry->device_size)
            return mu_fail(err, MU_CONFIG, "%s has %llu bytes: --device-size is for copies",
                           q->device, (unsigned long long)geometry->device_size);
        return MU_OK;
    }
    geometry->device_size = q->device_size != 0 ? q->device_size : e->old.geometry.device_size;
    if (geometry->device_size == 0)
        return mu_fail(err, MU_CONFIG,
                       "%s is a copy of a header, and no record of this builder's in it says how "
                       "large the device is: give --device-size BYTES ('blockdev --getsize64' of "
                       "the device)",
                       q->device);
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

    if (q->baselines < 1 || q->baselines > RECORD_BASELINES_MAX)
        return mu_fail(err, MU_CONFIG, "a record holds 1 to %d baselines, not %zu",
                       RECORD_BASELINES_MAX, q->baselines);
    memcpy(record->baseline, q->baseline, q->baselines * sizeof(*q->baseline));
    record->baselines = q->baselines;
    MU_TRY(record_date(record, err));
    return MU_OK;
}

static enum mu_status fill_record(struct enrolment *e, const struct luks_header *header,
                                  struct mu_error *err)
{
    const struct enroll_request *q = e->request;
    struct record *record = &e->record;
    const char *uuid = header->uuid;

    MU_TRY(set_baselines(e, err));
    MU_TRY(set_geometry(e, header, err));
    (void)snprintf(record->volume_name, sizeof(record->volume_name), "%s", q->volume);
    (void)snprintf(record->volume_uuid, sizeof(record->volume_uuid), "%s", uuid);
    MU_TRY(volume_identity(&e->volume_key, uuid, record->volume_identity, err));
    MU_TRY(secret_random(&e->fresh, FRESH_KEY_SIZE, err));
    MU_TRY(q->seal(secret_view(&e->fresh), e->old.version != 0 ? &e->old : NULL, record,
                   q->seal_context, err));
    return signer_record_token(q->signer, record, &e->token, err);
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
    MU_TRY(choose_version(e, err));
    MU_TRY(choose_slot(e, err));
    return fill_record(e, &header, err);
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
    const struct public_keys keys = {{e->request->signer->key}, 1};
    json_object *token = NULL;

    MU_TRY(load_header(e->request->device, &header, err));
    MU_TRY(luks_header_record_token(&header, &token, err));
    MU_TRY(record_parse_token(token, &keys, &record, err));
    return volume_fits(&record, &header, e->record.version, err);
}

static enum mu_status write_record(struct enrolment *e, struct mu_error *err)
{
    int r = crypt_token_json_set(e->session.cd,
                                 e->record_id != NONE ? e->record_id : CRYPT_ANY_TOKEN, e->token);

    if (r < 0)
        return enroll_fail(e, r, "writing the record (is the header full?)", err);
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

enum mu_status enroll_volume(const struct enroll_request *request, struct record *ret,
                             struct mu_error *err)
{
    MU_CLEANUP(enrolment_free)
    struct enrolment e = {
        .request = request, .passphrase_slot = NONE, .record_id = NONE, .old_slot = NONE};
    sigset_t all;
    sigset_t before;
    enum mu_status status;

    MU_TRY(prepare(&e, err));
    /* Signals that can be blocked wait until the header is whole. */
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
    *ret = MU_TAKE(e.record);
    return MU_OK;
}

/* ---- other baselines for the present record ---- */

static enum mu_status take_old(struct enrolment *e, struct mu_error *err)
{
    const char *device = e->request->device;
    const struct public_keys keys = present_key(e->request);
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};
    json_object *token = NULL;

    MU_TRY(crypt_session_open(&e->session, device, NULL, err));
    MU_TRY(load_header(device, &header, err));
    MU_TRY(luks_header_record_token(&header, &token, err));
    if (record_token_by_instance(token))
        return mu_fail(
            err, MU_REFUSE,
            "%s was made by an instance and has no baselines: KMS's key policy says what "
            "may open it. --volume-key-file enrolls it with baselines",
            e->request->device);
    /* A record that somebody else wrote gets no signature. */
    MU_TRY(record_parse_token(token, &keys, &e->record, err));
    MU_TRY(volume_fits(&e->record, &header, 1, err));
    if (e->request->volume != NULL)
        MU_TRY(record_check_name(&e->record, e->request->volume, err));
    MU_TRY(find_old(e, err));
    return choose_version(e, err);
}

enum mu_status enroll_resign(const struct enroll_request *request, struct record *ret,
                             struct mu_error *err)
{
    MU_CLEANUP(enrolment_free)
    struct enrolment e = {
        .request = request, .passphrase_slot = NONE, .record_id = NONE, .old_slot = NONE};
    enum mu_status status;

    MU_TRY(take_old(&e, err));
    MU_TRY(request->baselines > 0 ? set_baselines(&e, err) : record_date(&e.record, err));
    MU_TRY(request->seal((struct bytes){0}, &e.old, &e.record, request->seal_context, err));
    MU_TRY(signer_record_token(request->signer, &e.record, &e.token, err));
    status = write_record(&e, err);
    if (status != MU_OK) {
        roll_back(&e);
        return status;
    }
    *ret = MU_TAKE(e.record);
    return MU_OK;
}
