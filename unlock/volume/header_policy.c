/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/luks_header.h"

#include <stdio.h>
#include <string.h>

/* docs/develop/design.md, "Header policy". The header can be written by an attacker (CVE-2025-59054
 * and its kin), so everything in it is either expected or refused: unknown members too. */

#define FAIL(...) return mu_fail(err, MU_REFUSE, __VA_ARGS__)
#define SECTOR 4096u
#define VOLUME_CIPHER "aes-xts-plain64"
#define AF_STRIPES 4000

typedef enum mu_status (*rule_check)(const struct luks_header *h, struct mu_error *err);

/* ---- reading JSON ---- */

static enum mu_status object_at(json_object *parent, const char *name, json_object **ret,
                                struct mu_error *err)
{
    return json_member(parent, name, json_type_object, MU_REFUSE, ret, err);
}

static enum mu_status section(const struct luks_header *h, const char *name, json_object **ret,
                              struct mu_error *err)
{
    return object_at(h->json, name, ret, err);
}

static enum mu_status text_is(json_object *object, const char *name, const char *expected,
                              struct mu_error *err)
{
    const char *found = NULL;

    MU_TRY(json_string(object, name, 64, MU_REFUSE, &found, err));
    if (strcmp(found, expected) != 0)
        FAIL("%s is \"%s\" instead of \"%s\"", name, found, expected);
    return MU_OK;
}

static enum mu_status text_is_one_of(json_object *object, const char *name,
                                     const char *const *known, struct mu_error *err)
{
    const char *found = NULL;

    MU_TRY(json_string(object, name, 64, MU_REFUSE, &found, err));
    for (; *known != NULL; known++)
        if (strcmp(found, *known) == 0)
            return MU_OK;
    FAIL("%s \"%s\" is not a known one", name, found);
}

static enum mu_status number_of(json_object *object, const char *name, uint64_t *ret,
                                struct mu_error *err)
{
    const char *text = NULL;

    MU_TRY(json_string(object, name, 20, MU_REFUSE, &text, err));
    if (!luks_number(text, ret))
        FAIL("%s \"%s\" is not a number", name, text);
    return MU_OK;
}

static enum mu_status integer_in(json_object *object, const char *name, int64_t min, int64_t max,
                                 struct mu_error *err)
{
    int64_t value;

    return json_integer(object, name, min, max, MU_REFUSE, &value, err);
}

static enum mu_status base64_of(json_object *object, const char *name, size_t min, size_t max,
                                struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer value = {0};
    const char *text = NULL;
    enum mu_status status;

    MU_TRY(json_string(object, name, 256, MU_REFUSE, &text, err));
    status = base64_decode(text, max, MU_REFUSE, &value, err);
    if (status == MU_INTERNAL)
        return status;
    if (status != MU_OK || value.len < min)
        FAIL("%s is not %zu to %zu bytes of base64", name, min, max);
    return MU_OK;
}

/* Every element is the name of a member of `among`, none twice. Every rule is applied whatever the
 * others say, so each one bounds what it compares with each other: a header has room for 80 000 key
 * slots. */
static enum mu_status names_in(json_object *object, const char *name, json_object *among,
                               struct mu_error *err)
{
    json_object *list = NULL;

    MU_TRY(json_member(object, name, json_type_array, MU_REFUSE, &list, err));
    if (json_object_array_length(list) > LUKS_KEYSLOTS_MAX)
        FAIL("%s has more than %d entries", name, LUKS_KEYSLOTS_MAX);
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        json_object *item = json_object_array_get_idx(list, i);

        if (!json_object_is_type(item, json_type_string) ||
            !json_object_object_get_ex(among, json_object_get_string(item), NULL))
            FAIL("%s names \"%s\", which does not exist", name, json_object_get_string(item));
        for (size_t j = 0; j < i; j++)
            if (strcmp(json_object_get_string(json_object_array_get_idx(list, j)),
                       json_object_get_string(item)) == 0)
                FAIL("%s names \"%s\" twice", name, json_object_get_string(item));
    }
    return MU_OK;
}

/* ---- the header as a whole ---- */

/* All but magic, salt, own offset and checksum (LUKS2 specification, 2.1). */
static enum mu_status copies_agree(const struct luks_header *h, struct mu_error *err)
{
    static const struct {
        size_t at, len;
    } own[] = {{0, 6}, {104, 64}, {256, 8}, {448, 64}};
    MU_CLEANUP(buffer_free) struct buffer expected = {0};

    MU_TRY(buffer_copy(&expected, buffer_view(&h->primary), err));
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        memcpy(expected.data + own[i].at, h->secondary.data + own[i].at, own[i].len);
    if (!bytes_equal(buffer_view(&expected), buffer_view(&h->secondary)))
        FAIL("the two copies differ: tampering, or an interrupted change that `cryptsetup "
             "luksDump` repairs on a trusted machine");
    return MU_OK;
}

static enum mu_status header_padding(const struct luks_header *h, struct mu_error *err)
{
    if (!bytes_all_zero((struct bytes){h->primary.data + 264, 448 - 264}) ||
        !bytes_all_zero((struct bytes){h->primary.data + 512, 4096 - 512}))
        FAIL("the binary header has data where zeros belong");
    return MU_OK;
}

static enum mu_status header_members(const struct luks_header *h, struct mu_error *err)
{
    static const char *const names[] = {"keyslots", "tokens", "segments",
                                        "digests",  "config", NULL};
    json_object *unused = NULL;

    MU_TRY(json_only(h->json, "header", names, MU_REFUSE, err));
    for (size_t i = 0; names[i] != NULL; i++)
        MU_TRY(section(h, names[i], &unused, err));
    return MU_OK;
}

/* ---- config ---- */

static enum mu_status config_sizes(const struct luks_header *h, struct mu_error *err)
{
    json_object *config = NULL;
    uint64_t json_size;
    uint64_t keyslots_size;

    MU_TRY(section(h, "config", &config, err));
    MU_TRY(number_of(config, "json_size", &json_size, err));
    MU_TRY(number_of(config, "keyslots_size", &keyslots_size, err));
    if (json_size + SECTOR != h->header_size)
        FAIL("json_size %llu does not fit a header of %llu bytes", (unsigned long long)json_size,
             (unsigned long long)h->header_size);
    if (keyslots_size == 0 || keyslots_size % SECTOR != 0 || keyslots_size != h->keyslots_size)
        FAIL("keyslots_size %llu is not a size for a key slot area",
             (unsigned long long)keyslots_size);
    return MU_OK;
}

static enum mu_status config_members(const struct luks_header *h, struct mu_error *err)
{
    static const char *const names[] = {"json_size", "keyslots_size", "flags", "requirements",
                                        NULL};
    json_object *config = NULL;

    MU_TRY(section(h, "config", &config, err));
    return json_only(config, "config", names, MU_REFUSE, err);
}

/* Reencryption announces itself here (CVE-2021-4122). */
static enum mu_status config_requirements(const struct luks_header *h, struct mu_error *err)
{
    static const char *const names[] = {"mandatory", NULL};
    json_object *config = NULL;
    json_object *requirements = NULL;
    json_object *list = NULL;

    MU_TRY(section(h, "config", &config, err));
    if (!json_object_object_get_ex(config, "requirements", NULL))
        return MU_OK;
    MU_TRY(object_at(config, "requirements", &requirements, err));
    MU_TRY(json_only(requirements, "requirements", names, MU_REFUSE, err));
    if (!json_object_object_get_ex(requirements, "mandatory", NULL))
        return MU_OK;
    MU_TRY(json_member(requirements, "mandatory", json_type_array, MU_REFUSE, &list, err));
    if (json_object_array_length(list) > 0)
        FAIL("the volume has the requirement %s",
             json_object_to_json_string(json_object_array_get_idx(list, 0)));
    return MU_OK;
}

static enum mu_status config_flags(const struct luks_header *h, struct mu_error *err)
{
    json_object *config = NULL;
    json_object *list = NULL;

    MU_TRY(section(h, "config", &config, err));
    if (!json_object_object_get_ex(config, "flags", NULL))
        return MU_OK;
    MU_TRY(json_member(config, "flags", json_type_array, MU_REFUSE, &list, err));
    if (json_object_array_length(list) > 0)
        FAIL("the volume has the flag %s",
             json_object_to_json_string(json_object_array_get_idx(list, 0)));
    return MU_OK;
}

/* ---- the one segment ---- */

static enum mu_status segment(const struct luks_header *h, json_object **ret, struct mu_error *err)
{
    json_object *segments = NULL;

    MU_TRY(section(h, "segments", &segments, err));
    return object_at(segments, "0", ret, err);
}

static enum mu_status segment_single(const struct luks_header *h, struct mu_error *err)
{
    json_object *segments = NULL;
    json_object *unused = NULL;

    MU_TRY(section(h, "segments", &segments, err));
    if (json_object_object_length(segments) != 1)
        FAIL("%d segments instead of one", json_object_object_length(segments));
    return segment(h, &unused, err);
}

static enum mu_status segment_type(const struct luks_header *h, struct mu_error *err)
{
    json_object *s = NULL;

    MU_TRY(segment(h, &s, err));
    return text_is(s, "type", "crypt", err);
}

static enum mu_status segment_cipher(const struct luks_header *h, struct mu_error *err)
{
    json_object *s = NULL;

    MU_TRY(segment(h, &s, err));
    return text_is(s, "encryption", VOLUME_CIPHER, err);
}

static enum mu_status segment_offset(const struct luks_header *h, struct mu_error *err)
{
    uint64_t metadata = 2 * h->header_size + h->keyslots_size;
    json_object *s = NULL;
    uint64_t offset;

    MU_TRY(segment(h, &s, err));
    MU_TRY(number_of(s, "offset", &offset, err));
    if (offset < metadata)
        FAIL("offset %llu is within the header", (unsigned long long)offset);
    if (offset >= h->geometry.device_size && !luks_header_is_copy(h))
        FAIL("offset %llu is beyond the end of the device (%llu)", (unsigned long long)offset,
             (unsigned long long)h->geometry.device_size);
    if (offset % SECTOR != 0)
        FAIL("offset %llu is not a multiple of %u", (unsigned long long)offset, SECTOR);
    return MU_OK;
}

static enum mu_status segment_size(const struct luks_header *h, struct mu_error *err)
{
    json_object *s = NULL;

    MU_TRY(segment(h, &s, err));
    return text_is(s, "size", "dynamic", err);
}

static enum mu_status segment_iv(const struct luks_header *h, struct mu_error *err)
{
    json_object *s = NULL;

    MU_TRY(segment(h, &s, err));
    return text_is(s, "iv_tweak", "0", err);
}

static enum mu_status segment_sector_size(const struct luks_header *h, struct mu_error *err)
{
    json_object *s = NULL;
    int64_t size;

    MU_TRY(segment(h, &s, err));
    MU_TRY(json_integer(s, "sector_size", 512, 4096, MU_REFUSE, &size, err));
    if ((size & (size - 1)) != 0)
        FAIL("sector_size %lld is not a power of two", (long long)size);
    return MU_OK;
}

static enum mu_status segment_integrity(const struct luks_header *h, struct mu_error *err)
{
    json_object *s = NULL;

    MU_TRY(segment(h, &s, err));
    if (json_object_object_get_ex(s, "integrity", NULL))
        FAIL("the segment has dm-integrity under it, which is not supported");
    return MU_OK;
}

static enum mu_status segment_flags(const struct luks_header *h, struct mu_error *err)
{
    json_object *s = NULL;

    MU_TRY(segment(h, &s, err));
    if (json_object_object_get_ex(s, "flags", NULL))
        FAIL("the segment has flags");
    return MU_OK;
}

static enum mu_status segment_members(const struct luks_header *h, struct mu_error *err)
{
    static const char *const names[] = {"type",      "offset",     "size",
                                        "iv_tweak",  "encryption", "sector_size",
                                        "integrity", "flags",      NULL};
    json_object *s = NULL;

    MU_TRY(segment(h, &s, err));
    return json_only(s, "segment 0", names, MU_REFUSE, err);
}

/* ---- every key slot ---- */

static enum mu_status keyslot_names(const struct luks_header *h, struct mu_error *err)
{
    json_object *slots = NULL;

    MU_TRY(section(h, "keyslots", &slots, err));
    if (json_object_object_length(slots) < 1)
        FAIL("there is no key slot");
    json_object_object_foreach(slots, name, slot)
    {
        uint64_t number;

        (void)slot;
        if (!luks_number(name, &number) || number >= LUKS_KEYSLOTS_MAX)
            FAIL("\"%s\" is not the number of a key slot", name);
    }
    return MU_OK;
}

static enum mu_status each_keyslot(const struct luks_header *h,
                                   enum mu_status (*check)(const struct luks_header *h,
                                                           json_object *slot, struct mu_error *err),
                                   struct mu_error *err)
{
    json_object *slots = NULL;

    MU_TRY(section(h, "keyslots", &slots, err));
    json_object_object_foreach(slots, name, slot)
    {
        if (!json_object_is_type(slot, json_type_object))
            FAIL("key slot %s is not an object", name);
        if (check(h, slot, err) != MU_OK)
            return mu_context(err, "key slot %s", name);
    }
    return MU_OK;
}

static enum mu_status slot_type(const struct luks_header *h, json_object *slot,
                                struct mu_error *err)
{
    static const char *const names[] = {"type", "key_size", "af", "area", "kdf", "priority", NULL};

    (void)h;
    MU_TRY(text_is(slot, "type", "luks2", err));
    MU_TRY(json_only(slot, "it", names, MU_REFUSE, err));
    if (json_object_object_get_ex(slot, "priority", NULL))
        MU_TRY(integer_in(slot, "priority", 0, 2, err));
    return MU_OK;
}

static enum mu_status keyslot_type(const struct luks_header *h, struct mu_error *err)
{
    return each_keyslot(h, slot_type, err);
}

static enum mu_status slot_key_size(const struct luks_header *h, json_object *slot,
                                    struct mu_error *err)
{
    (void)h;
    return integer_in(slot, "key_size", LUKS_VOLUME_KEY_SIZE, LUKS_VOLUME_KEY_SIZE, err);
}

static enum mu_status keyslot_key_size(const struct luks_header *h, struct mu_error *err)
{
    return each_keyslot(h, slot_key_size, err);
}

static enum mu_status slot_af(const struct luks_header *h, json_object *slot, struct mu_error *err)
{
    static const char *const names[] = {"type", "stripes", "hash", NULL};
    static const char *const hashes[] = {"sha256", "sha384", "sha512", NULL};
    json_object *af = NULL;

    (void)h;
    MU_TRY(object_at(slot, "af", &af, err));
    MU_TRY(json_only(af, "af", names, MU_REFUSE, err));
    MU_TRY(text_is(af, "type", "luks1", err));
    MU_TRY(text_is_one_of(af, "hash", hashes, err));
    return integer_in(af, "stripes", AF_STRIPES, AF_STRIPES, err);
}

static enum mu_status keyslot_af(const struct luks_header *h, struct mu_error *err)
{
    return each_keyslot(h, slot_af, err);
}

static enum mu_status slot_cipher(const struct luks_header *h, json_object *slot,
                                  struct mu_error *err)
{
    json_object *area = NULL;

    (void)h;
    MU_TRY(object_at(slot, "area", &area, err));
    MU_TRY(text_is(area, "encryption", VOLUME_CIPHER, err));
    return integer_in(area, "key_size", LUKS_VOLUME_KEY_SIZE, LUKS_VOLUME_KEY_SIZE, err);
}

static enum mu_status keyslot_cipher(const struct luks_header *h, struct mu_error *err)
{
    return each_keyslot(h, slot_cipher, err);
}

static enum mu_status area_of(json_object *slot, uint64_t *ret_offset, uint64_t *ret_size,
                              struct mu_error *err)
{
    json_object *area = NULL;

    MU_TRY(object_at(slot, "area", &area, err));
    MU_TRY(number_of(area, "offset", ret_offset, err));
    return number_of(area, "size", ret_size, err);
}

static enum mu_status slot_area(const struct luks_header *h, json_object *slot,
                                struct mu_error *err)
{
    static const char *const names[] = {"type", "offset", "size", "encryption", "key_size", NULL};
    uint64_t start = 2 * h->header_size;
    json_object *area = NULL;
    uint64_t offset;
    uint64_t size;

    MU_TRY(object_at(slot, "area", &area, err));
    MU_TRY(json_only(area, "area", names, MU_REFUSE, err));
    MU_TRY(text_is(area, "type", "raw", err));
    MU_TRY(area_of(slot, &offset, &size, err));
    if (offset < start || offset - start > h->keyslots_size ||
        size > h->keyslots_size - (offset - start))
        FAIL("the area at %llu, %llu bytes, is outside the key slot area",
             (unsigned long long)offset, (unsigned long long)size);
    if (size < (uint64_t)AF_STRIPES * LUKS_VOLUME_KEY_SIZE || offset % SECTOR != 0 ||
        size % SECTOR != 0)
        FAIL("the area at %llu, %llu bytes, is too small or not in whole sectors",
             (unsigned long long)offset, (unsigned long long)size);
    return MU_OK;
}

static enum mu_status keyslot_area(const struct luks_header *h, struct mu_error *err)
{
    return each_keyslot(h, slot_area, err);
}

static enum mu_status keyslot_overlap(const struct luks_header *h, struct mu_error *err)
{
    json_object *slots = NULL;

    MU_TRY(section(h, "keyslots", &slots, err));
    if (json_object_object_length(slots) > LUKS_KEYSLOTS_MAX)
        FAIL("there are more than %d key slots", LUKS_KEYSLOTS_MAX);
    json_object_object_foreach(slots, name, slot)
    {
        uint64_t offset;
        uint64_t size;

        MU_TRY(area_of(slot, &offset, &size, err));
        json_object_object_foreach(slots, other_name, other)
        {
            uint64_t other_offset;
            uint64_t other_size;

            MU_TRY(area_of(other, &other_offset, &other_size, err));
            if (slot != other && offset <= other_offset && other_offset - offset < size)
                FAIL("the areas of key slots %s and %s overlap", name, other_name);
        }
    }
    return MU_OK;
}

/* Upper bounds: what a boot can afford; above what cryptsetup makes by itself. */
static enum mu_status slot_kdf(const struct luks_header *h, json_object *slot, struct mu_error *err)
{
    static const char *const pbkdf2[] = {"type", "hash", "iterations", "salt", NULL};
    static const char *const argon2[] = {"type", "time", "memory", "cpus", "salt", NULL};
    static const char *const types[] = {"pbkdf2", "argon2i", "argon2id", NULL};
    static const char *const hashes[] = {"sha256", "sha384", "sha512", NULL};
    json_object *kdf = NULL;
    const char *type = NULL;

    (void)h;
    MU_TRY(object_at(slot, "kdf", &kdf, err));
    MU_TRY(text_is_one_of(kdf, "type", types, err));
    MU_TRY(base64_of(kdf, "salt", 16, 64, err));
    MU_TRY(json_string(kdf, "type", 16, MU_REFUSE, &type, err));
    if (strcmp(type, "pbkdf2") == 0) {
        MU_TRY(json_only(kdf, "kdf", pbkdf2, MU_REFUSE, err));
        MU_TRY(text_is_one_of(kdf, "hash", hashes, err));
        return integer_in(kdf, "iterations", 1000, 100000000, err);
    }
    MU_TRY(json_only(kdf, "kdf", argon2, MU_REFUSE, err));
    MU_TRY(integer_in(kdf, "time", 1, 10000, err));
    MU_TRY(integer_in(kdf, "memory", 32, 4 << 20, err)); /* KiB */
    return integer_in(kdf, "cpus", 1, 4, err);
}

static enum mu_status keyslot_kdf(const struct luks_header *h, struct mu_error *err)
{
    return each_keyslot(h, slot_kdf, err);
}

/* ---- the one digest ---- */

static enum mu_status digest(const struct luks_header *h, json_object **ret, struct mu_error *err)
{
    json_object *digests = NULL;

    MU_TRY(section(h, "digests", &digests, err));
    return object_at(digests, "0", ret, err);
}

static enum mu_status digest_single(const struct luks_header *h, struct mu_error *err)
{
    json_object *digests = NULL;
    json_object *unused = NULL;

    MU_TRY(section(h, "digests", &digests, err));
    if (json_object_object_length(digests) != 1)
        FAIL("%d digests instead of one", json_object_object_length(digests));
    return digest(h, &unused, err);
}

static enum mu_status digest_type(const struct luks_header *h, struct mu_error *err)
{
    static const char *const names[] = {"type",       "keyslots", "segments", "hash",
                                        "iterations", "salt",     "digest",   NULL};
    static const char *const hashes[] = {"sha256", "sha384", "sha512", NULL};
    json_object *d = NULL;

    MU_TRY(digest(h, &d, err));
    MU_TRY(json_only(d, "digest 0", names, MU_REFUSE, err));
    MU_TRY(text_is(d, "type", "pbkdf2", err));
    MU_TRY(text_is_one_of(d, "hash", hashes, err));
    MU_TRY(integer_in(d, "iterations", 1000, 100000000, err));
    MU_TRY(base64_of(d, "salt", 16, 64, err));
    return base64_of(d, "digest", 20, 64, err);
}

/* The volume key of every slot is the one of the segment: no key slot stands apart. */
static enum mu_status digest_links(const struct luks_header *h, struct mu_error *err)
{
    static const char *const lists[] = {"keyslots", "segments"};
    json_object *d = NULL;

    MU_TRY(digest(h, &d, err));
    for (size_t i = 0; i < 2; i++) {
        json_object *all = NULL;
        json_object *list = NULL;

        MU_TRY(section(h, lists[i], &all, err));
        MU_TRY(names_in(d, lists[i], all, err));
        MU_TRY(json_member(d, lists[i], json_type_array, MU_REFUSE, &list, err));
        if (json_object_array_length(list) != (size_t)json_object_object_length(all))
            FAIL("some %s do not belong to the digest", lists[i]);
    }
    return MU_OK;
}

/* ---- tokens ---- */

static enum mu_status tokens_known(const struct luks_header *h, struct mu_error *err)
{
    static const char *const types[] = {RECORD_TOKEN_TYPE, PENDING_TOKEN_TYPE, NULL};
    json_object *tokens = NULL;
    json_object *slots = NULL;

    MU_TRY(section(h, "tokens", &tokens, err));
    MU_TRY(section(h, "keyslots", &slots, err));
    json_object_object_foreach(tokens, name, token)
    {
        uint64_t number;

        if (!luks_number(name, &number) || number >= LUKS_KEYSLOTS_MAX)
            FAIL("\"%s\" is not the number of a token", name);
        if (!json_object_is_type(token, json_type_object))
            FAIL("token %s is not an object", name);
        if (text_is_one_of(token, "type", types, err) != MU_OK ||
            names_in(token, "keyslots", slots, err) != MU_OK)
            return mu_context(err, "token %s", name);
    }
    return MU_OK;
}

/* record_parse_token() checks the content of our token. */
static enum mu_status tokens_single(const struct luks_header *h, struct mu_error *err)
{
    json_object *tokens = NULL;
    unsigned records = 0;
    unsigned pending = 0;

    MU_TRY(section(h, "tokens", &tokens, err));
    json_object_object_foreach(tokens, name, token)
    {
        const char *type = NULL;

        (void)name;
        MU_TRY(json_string(token, "type", 64, MU_REFUSE, &type, err));
        records += strcmp(type, RECORD_TOKEN_TYPE) == 0;
        pending += strcmp(type, PENDING_TOKEN_TYPE) == 0;
    }
    if (records > 1 || pending > 1)
        FAIL("%u enrolment records and %u pending ones, at most one of each is allowed", records,
             pending);
    return MU_OK;
}

static const struct {
    const char *name;
    rule_check check;
} rules[] = {
    {"copies-agree", copies_agree},
    {"header-padding", header_padding},
    {"header-members", header_members},
    {"config-members", config_members},
    {"config-sizes", config_sizes},
    {"config-requirements", config_requirements},
    {"config-flags", config_flags},
    {"segment-single", segment_single},
    {"segment-type", segment_type},
    {"segment-cipher", segment_cipher},
    {"segment-offset", segment_offset},
    {"segment-size", segment_size},
    {"segment-iv-tweak", segment_iv},
    {"segment-sector-size", segment_sector_size},
    {"segment-integrity", segment_integrity},
    {"segment-flags", segment_flags},
    {"segment-members", segment_members},
    {"keyslot-names", keyslot_names},
    {"keyslot-type", keyslot_type},
    {"keyslot-key-size", keyslot_key_size},
    {"keyslot-af", keyslot_af},
    {"keyslot-cipher", keyslot_cipher},
    {"keyslot-area", keyslot_area},
    {"keyslot-overlap", keyslot_overlap},
    {"keyslot-kdf", keyslot_kdf},
    {"digest-single", digest_single},
    {"digest-type", digest_type},
    {"digest-links", digest_links},
    {"tokens-known", tokens_known},
    {"tokens-single", tokens_single},
};
_Static_assert(sizeof(rules) / sizeof(rules[0]) <= HEADER_RULES_MAX, "report too small");

/* Details quote what an attacker may have written: it must not reach a terminal as it is. */
static void keep_detail(struct header_rule *rule, const char *text)
{
    size_t len = 0;

    for (; len < sizeof(rule->detail) - 1 && text[len] != '\0'; len++) {
        rule->detail[len] = text[len];
        if (text[len] < 0x20 || text[len] >= 0x7f)
            rule->detail[len] = '?';
    }
    rule->detail[len] = '\0';
}

enum mu_status luks_header_check(const struct luks_header *header, struct header_report *ret_report,
                                 struct mu_error *err)
{
    struct header_report report = {.count = sizeof(rules) / sizeof(rules[0])};
    const struct header_rule *first = NULL;

    for (size_t i = 0; i < report.count; i++) {
        struct header_rule *rule = &report.rule[i];
        struct mu_error why = {0};

        rule->name = rules[i].name;
        rule->ok = rules[i].check(header, &why) == MU_OK;
        if (why.status == MU_INTERNAL) /* the header is neither good nor bad */
            return mu_fail(err, MU_INTERNAL, "%s: header rule %s: %s", header->device, rule->name,
                           why.text);
        keep_detail(rule, why.text);
        if (!rule->ok && first == NULL)
            first = rule;
    }
    if (ret_report != NULL)
        *ret_report = report;
    if (first != NULL)
        return mu_fail(err, MU_REFUSE, "%s: header rule %s: %s", header->device, first->name,
                       first->detail);
    return MU_OK;
}
