/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/luks_header.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* docs/develop/design.md, "Header policy". The header can be written by an attacker (CVE-2025-59054
 * and its kin), so everything in it is either expected or refused: unknown members too. */

#define FAIL(...) return mu_fail(err, MU_REFUSE, __VA_ARGS__)
#define SECTOR 4096u
#define VOLUME_CIPHER "aes-xts-plain64"
#define AF_STRIPES 4000

static const char *const hashes[] = {"sha256", "sha384", "sha512", NULL};

/* What a rule looks at: a part of the header, and its JSON. */
struct part {
    const struct luks_header *header;
    json_object *json;
};

/* ---- reading JSON ---- */

static enum mu_status object_at(json_object *parent, const char *name, json_object **ret,
                                struct mu_error *err)
{
    return json_member(parent, name, json_type_object, MU_REFUSE, ret, err);
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
static enum mu_status copies_agree(const struct part *p, struct mu_error *err)
{
    static const struct {
        size_t at, len;
    } own[] = {{0, 6}, {104, 64}, {256, 8}, {448, 64}};
    MU_CLEANUP(buffer_free) struct buffer expected = {0};

    MU_TRY(buffer_copy(&expected, buffer_view(&p->header->primary), err));
    for (size_t i = 0; i < MU_COUNT(own); i++)
        memcpy(expected.data + own[i].at, p->header->secondary.data + own[i].at, own[i].len);
    if (!bytes_equal(buffer_view(&expected), buffer_view(&p->header->secondary)))
        FAIL("the two copies differ: tampering, or an interrupted change that `cryptsetup "
             "luksDump` repairs on a trusted machine");
    return MU_OK;
}

static enum mu_status header_padding(const struct part *p, struct mu_error *err)
{
    if (!bytes_all_zero((struct bytes){p->header->primary.data + 264, 448 - 264}) ||
        !bytes_all_zero((struct bytes){p->header->primary.data + 512, 4096 - 512}))
        FAIL("the binary header has data where zeros belong");
    return MU_OK;
}

static enum mu_status header_members(const struct part *p, struct mu_error *err)
{
    static const char *const names[] = {"keyslots", "tokens", "segments",
                                        "digests",  "config", NULL};
    json_object *unused = NULL;

    MU_TRY(json_only(p->json, "header", names, MU_REFUSE, err));
    for (size_t i = 0; names[i] != NULL; i++)
        MU_TRY(object_at(p->json, names[i], &unused, err));
    return MU_OK;
}

/* The one segment or digest. */
static enum mu_status is_single(const struct part *p, const char *what, struct mu_error *err)
{
    json_object *unused = NULL;

    if (json_object_object_length(p->json) != 1)
        FAIL("%d %s instead of one", json_object_object_length(p->json), what);
    return object_at(p->json, "0", &unused, err);
}

/* ---- config ---- */

static enum mu_status config_sizes(const struct part *p, struct mu_error *err)
{
    uint64_t json_size;
    uint64_t keyslots_size;

    MU_TRY(number_of(p->json, "json_size", &json_size, err));
    MU_TRY(number_of(p->json, "keyslots_size", &keyslots_size, err));
    if (json_size + SECTOR != p->header->header_size)
        FAIL("json_size %llu does not fit a header of %llu bytes", (unsigned long long)json_size,
             (unsigned long long)p->header->header_size);
    if (keyslots_size == 0 || keyslots_size % SECTOR != 0 ||
        keyslots_size != p->header->keyslots_size)
        FAIL("keyslots_size %llu is not a size for a key slot area",
             (unsigned long long)keyslots_size);
    return MU_OK;
}

static enum mu_status config_members(const struct part *p, struct mu_error *err)
{
    static const char *const names[] = {"json_size", "keyslots_size", "flags", "requirements",
                                        NULL};

    return json_only(p->json, "config", names, MU_REFUSE, err);
}

static enum mu_status is_empty(json_object *object, const char *name, const char *what,
                               struct mu_error *err)
{
    json_object *list = NULL;

    if (!json_object_object_get_ex(object, name, NULL))
        return MU_OK;
    MU_TRY(json_member(object, name, json_type_array, MU_REFUSE, &list, err));
    if (json_object_array_length(list) > 0)
        FAIL("the volume has the %s %s", what,
             json_object_to_json_string(json_object_array_get_idx(list, 0)));
    return MU_OK;
}

/* Reencryption announces itself here (CVE-2021-4122). */
static enum mu_status config_requirements(const struct part *p, struct mu_error *err)
{
    static const char *const names[] = {"mandatory", NULL};
    json_object *requirements = NULL;

    if (!json_object_object_get_ex(p->json, "requirements", NULL))
        return MU_OK;
    MU_TRY(object_at(p->json, "requirements", &requirements, err));
    MU_TRY(json_only(requirements, "requirements", names, MU_REFUSE, err));
    return is_empty(requirements, "mandatory", "requirement", err);
}

static enum mu_status config_flags(const struct part *p, struct mu_error *err)
{
    return is_empty(p->json, "flags", "flag", err);
}

/* ---- the one segment ---- */

static enum mu_status segment_single(const struct part *p, struct mu_error *err)
{
    return is_single(p, "segments", err);
}

static enum mu_status segment_offset(const struct part *p, struct mu_error *err)
{
    uint64_t metadata = 2 * p->header->header_size + p->header->keyslots_size;
    uint64_t offset;

    MU_TRY(number_of(p->json, "offset", &offset, err));
    if (offset < metadata)
        FAIL("offset %llu is within the header", (unsigned long long)offset);
    if (offset >= p->header->geometry.device_size && !luks_header_is_copy(p->header))
        FAIL("offset %llu is beyond the end of the device (%llu)", (unsigned long long)offset,
             (unsigned long long)p->header->geometry.device_size);
    if (offset % SECTOR != 0)
        FAIL("offset %llu is not a multiple of %u", (unsigned long long)offset, SECTOR);
    return MU_OK;
}

static enum mu_status segment_sector_size(const struct part *p, struct mu_error *err)
{
    int64_t size;

    MU_TRY(json_integer(p->json, "sector_size", 512, 4096, MU_REFUSE, &size, err));
    if ((size & (size - 1)) != 0)
        FAIL("sector_size %lld is not a power of two", (long long)size);
    return MU_OK;
}

static enum mu_status segment_integrity(const struct part *p, struct mu_error *err)
{
    if (json_object_object_get_ex(p->json, "integrity", NULL))
        FAIL("the segment has dm-integrity under it, which is not supported");
    return MU_OK;
}

static enum mu_status segment_flags(const struct part *p, struct mu_error *err)
{
    if (json_object_object_get_ex(p->json, "flags", NULL))
        FAIL("the segment has flags");
    return MU_OK;
}

static enum mu_status segment_members(const struct part *p, struct mu_error *err)
{
    static const char *const names[] = {"type",      "offset",     "size",
                                        "iv_tweak",  "encryption", "sector_size",
                                        "integrity", "flags",      NULL};

    return json_only(p->json, "segment 0", names, MU_REFUSE, err);
}

/* ---- key slots ---- */

static enum mu_status keyslot_names(const struct part *p, struct mu_error *err)
{
    if (json_object_object_length(p->json) < 1)
        FAIL("there is no key slot");
    json_object_object_foreach(p->json, name, slot)
    {
        uint64_t number;

        (void)slot;
        if (!luks_number(name, &number) || number >= LUKS_KEYSLOTS_MAX)
            FAIL("\"%s\" is not the number of a key slot", name);
    }
    return MU_OK;
}

static enum mu_status slot_type(const struct part *p, struct mu_error *err)
{
    static const char *const names[] = {"type", "key_size", "af", "area", "kdf", "priority", NULL};

    MU_TRY(text_is(p->json, "type", "luks2", err));
    MU_TRY(json_only(p->json, "it", names, MU_REFUSE, err));
    if (json_object_object_get_ex(p->json, "priority", NULL))
        MU_TRY(integer_in(p->json, "priority", 0, 2, err));
    return MU_OK;
}

static enum mu_status slot_key_size(const struct part *p, struct mu_error *err)
{
    return integer_in(p->json, "key_size", LUKS_VOLUME_KEY_SIZE, LUKS_VOLUME_KEY_SIZE, err);
}

static enum mu_status slot_af(const struct part *p, struct mu_error *err)
{
    static const char *const names[] = {"type", "stripes", "hash", NULL};
    json_object *af = NULL;

    MU_TRY(object_at(p->json, "af", &af, err));
    MU_TRY(json_only(af, "af", names, MU_REFUSE, err));
    MU_TRY(text_is(af, "type", "luks1", err));
    MU_TRY(text_is_one_of(af, "hash", hashes, err));
    return integer_in(af, "stripes", AF_STRIPES, AF_STRIPES, err);
}

static enum mu_status slot_cipher(const struct part *p, struct mu_error *err)
{
    json_object *area = NULL;

    MU_TRY(object_at(p->json, "area", &area, err));
    MU_TRY(text_is(area, "encryption", VOLUME_CIPHER, err));
    return integer_in(area, "key_size", LUKS_VOLUME_KEY_SIZE, LUKS_VOLUME_KEY_SIZE, err);
}

static enum mu_status area_of(json_object *slot, uint64_t *ret_offset, uint64_t *ret_size,
                              struct mu_error *err)
{
    json_object *area = NULL;

    MU_TRY(object_at(slot, "area", &area, err));
    MU_TRY(number_of(area, "offset", ret_offset, err));
    return number_of(area, "size", ret_size, err);
}

static enum mu_status slot_area(const struct part *p, struct mu_error *err)
{
    static const char *const names[] = {"type", "offset", "size", "encryption", "key_size", NULL};
    uint64_t start = 2 * p->header->header_size;
    json_object *area = NULL;
    uint64_t offset;
    uint64_t size;

    MU_TRY(object_at(p->json, "area", &area, err));
    MU_TRY(json_only(area, "area", names, MU_REFUSE, err));
    MU_TRY(text_is(area, "type", "raw", err));
    MU_TRY(area_of(p->json, &offset, &size, err));
    if (offset < start || offset - start > p->header->keyslots_size ||
        size > p->header->keyslots_size - (offset - start))
        FAIL("the area at %llu, %llu bytes, is outside the key slot area",
             (unsigned long long)offset, (unsigned long long)size);
    if (size < (uint64_t)AF_STRIPES * LUKS_VOLUME_KEY_SIZE || offset % SECTOR != 0 ||
        size % SECTOR != 0)
        FAIL("the area at %llu, %llu bytes, is too small or not in whole sectors",
             (unsigned long long)offset, (unsigned long long)size);
    return MU_OK;
}

static enum mu_status keyslot_overlap(const struct part *p, struct mu_error *err)
{
    if (json_object_object_length(p->json) > LUKS_KEYSLOTS_MAX)
        FAIL("there are more than %d key slots", LUKS_KEYSLOTS_MAX);
    json_object_object_foreach(p->json, name, slot)
    {
        uint64_t offset;
        uint64_t size;

        MU_TRY(area_of(slot, &offset, &size, err));
        json_object_object_foreach(p->json, other_name, other)
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
static enum mu_status slot_kdf(const struct part *p, struct mu_error *err)
{
    static const char *const pbkdf2[] = {"type", "hash", "iterations", "salt", NULL};
    static const char *const argon2[] = {"type", "time", "memory", "cpus", "salt", NULL};
    static const char *const types[] = {"pbkdf2", "argon2i", "argon2id", NULL};
    json_object *kdf = NULL;
    const char *type = NULL;

    MU_TRY(object_at(p->json, "kdf", &kdf, err));
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

/* ---- the one digest ---- */

static enum mu_status digest_single(const struct part *p, struct mu_error *err)
{
    return is_single(p, "digests", err);
}

static enum mu_status digest_type(const struct part *p, struct mu_error *err)
{
    static const char *const names[] = {"type",       "keyslots", "segments", "hash",
                                        "iterations", "salt",     "digest",   NULL};

    MU_TRY(json_only(p->json, "digest 0", names, MU_REFUSE, err));
    MU_TRY(text_is(p->json, "type", "pbkdf2", err));
    MU_TRY(text_is_one_of(p->json, "hash", hashes, err));
    MU_TRY(integer_in(p->json, "iterations", 1000, 100000000, err));
    MU_TRY(base64_of(p->json, "salt", 16, 64, err));
    return base64_of(p->json, "digest", 20, 64, err);
}

/* The volume key of every slot is the one of the segment: no key slot stands apart. */
static enum mu_status digest_links(const struct part *p, struct mu_error *err)
{
    static const char *const lists[] = {"keyslots", "segments"};

    for (size_t i = 0; i < 2; i++) {
        json_object *all = NULL;
        json_object *list = NULL;

        MU_TRY(object_at(p->header->json, lists[i], &all, err));
        MU_TRY(names_in(p->json, lists[i], all, err));
        MU_TRY(json_member(p->json, lists[i], json_type_array, MU_REFUSE, &list, err));
        if (json_object_array_length(list) != (size_t)json_object_object_length(all))
            FAIL("some %s do not belong to the digest", lists[i]);
    }
    return MU_OK;
}

/* ---- tokens ---- */

static enum mu_status tokens_known(const struct part *p, struct mu_error *err)
{
    static const char *const types[] = {RECORD_TOKEN_TYPE, PENDING_TOKEN_TYPE, NULL};
    json_object *slots = NULL;

    MU_TRY(object_at(p->header->json, "keyslots", &slots, err));
    json_object_object_foreach(p->json, name, token)
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
static enum mu_status tokens_single(const struct part *p, struct mu_error *err)
{
    unsigned records = 0;
    unsigned pending = 0;

    json_object_object_foreach(p->json, name, token)
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

#define EACH "*"

/* `check` is applied to the header, a section of it, an item of that, or each; without it, `member`
 * of the part must be `text`. */
static const struct rule {
    const char *name, *section, *item;
    enum mu_status (*check)(const struct part *p, struct mu_error *err);
    const char *member, *text;
} rules[] = {
    {"copies-agree", .check = copies_agree},
    {"header-padding", .check = header_padding},
    {"header-members", .check = header_members},
    {"config-members", "config", .check = config_members},
    {"config-sizes", "config", .check = config_sizes},
    {"config-requirements", "config", .check = config_requirements},
    {"config-flags", "config", .check = config_flags},
    {"segment-single", "segments", .check = segment_single},
    {"segment-type", "segments", "0", .member = "type", .text = "crypt"},
    {"segment-cipher", "segments", "0", .member = "encryption", .text = VOLUME_CIPHER},
    {"segment-offset", "segments", "0", .check = segment_offset},
    {"segment-size", "segments", "0", .member = "size", .text = "dynamic"},
    {"segment-iv-tweak", "segments", "0", .member = "iv_tweak", .text = "0"},
    {"segment-sector-size", "segments", "0", .check = segment_sector_size},
    {"segment-integrity", "segments", "0", .check = segment_integrity},
    {"segment-flags", "segments", "0", .check = segment_flags},
    {"segment-members", "segments", "0", .check = segment_members},
    {"keyslot-names", "keyslots", .check = keyslot_names},
    {"keyslot-type", "keyslots", EACH, .check = slot_type},
    {"keyslot-key-size", "keyslots", EACH, .check = slot_key_size},
    {"keyslot-af", "keyslots", EACH, .check = slot_af},
    {"keyslot-cipher", "keyslots", EACH, .check = slot_cipher},
    {"keyslot-area", "keyslots", EACH, .check = slot_area},
    {"keyslot-overlap", "keyslots", .check = keyslot_overlap},
    {"keyslot-kdf", "keyslots", EACH, .check = slot_kdf},
    {"digest-single", "digests", .check = digest_single},
    {"digest-type", "digests", "0", .check = digest_type},
    {"digest-links", "digests", "0", .check = digest_links},
    {"tokens-known", "tokens", .check = tokens_known},
    {"tokens-single", "tokens", .check = tokens_single},
};
_Static_assert(MU_COUNT(rules) <= HEADER_RULES_MAX, "report too small");

static enum mu_status check_part(const struct rule *rule, const struct part *part,
                                 struct mu_error *err)
{
    return rule->check != NULL ? rule->check(part, err)
                               : text_is(part->json, rule->member, rule->text, err);
}

static enum mu_status check_each(const struct rule *rule, const struct part *all,
                                 struct mu_error *err)
{
    json_object_object_foreach(all->json, name, item)
    {
        const struct part part = {all->header, item};

        if (!json_object_is_type(item, json_type_object))
            FAIL("key slot %s is not an object", name);
        if (check_part(rule, &part, err) != MU_OK)
            return mu_context(err, "key slot %s", name);
    }
    return MU_OK;
}

static enum mu_status apply(const struct rule *rule, const struct luks_header *header,
                            struct mu_error *err)
{
    struct part part = {header, header->json};

    if (rule->section != NULL)
        MU_TRY(object_at(part.json, rule->section, &part.json, err));
    if (rule->item != NULL && strcmp(rule->item, EACH) == 0)
        return check_each(rule, &part, err);
    if (rule->item != NULL)
        MU_TRY(object_at(part.json, rule->item, &part.json, err));
    return check_part(rule, &part, err);
}

enum mu_status luks_header_check(const struct luks_header *header, struct header_report *ret_report,
                                 struct mu_error *err)
{
    struct header_report report = {.count = MU_COUNT(rules)};
    const struct header_rule *first = NULL;

    for (size_t i = 0; i < report.count; i++) {
        struct header_rule *rule = &report.rule[i];
        struct mu_error why = {0};

        rule->name = rules[i].name;
        rule->ok = apply(&rules[i], header, &why) == MU_OK;
        if (why.status == MU_INTERNAL) /* the header is neither good nor bad */
            return mu_fail(err, MU_INTERNAL, "%s: header rule %s: %s", header->device, rule->name,
                           why.text);
        /* It quotes what an attacker may have written: it must not reach a terminal as it is. */
        (void)snprintf(rule->detail, sizeof(rule->detail), "%.*s", (int)sizeof(rule->detail) - 1,
                       why.text);
        text_make_printable(rule->detail);
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
