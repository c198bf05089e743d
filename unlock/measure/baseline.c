/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure/baseline.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"

#define SHORT_DIGITS 16

/* "SHA384 { ... }" is what nitro-tpm-pcr-compute prints: Rust's debug form of its hasher. */
static enum hash_alg bank_from_text(const char *text)
{
    enum hash_alg alg = strcmp(text, "SHA384 { ... }") == 0 ? HASH_SHA384 : hash_from_name(text);

    return alg == HASH_SHA256 || alg == HASH_SHA384 ? alg : HASH_NONE;
}

/* "PCR0" to "PCR23", no other spelling; PCR_COUNT if invalid. */
static unsigned pcr_from_name(const char *name)
{
    char canonical[8];
    unsigned pcr;

    for (pcr = 0; pcr < PCR_COUNT; pcr++) {
        (void)snprintf(canonical, sizeof(canonical), "PCR%u", pcr);
        if (strcmp(name, canonical) == 0)
            break;
    }
    return pcr;
}

static enum mu_status parse_value(const char *name, json_object *value, struct pcr_values *values,
                                  struct mu_error *err)
{
    size_t size = hash_size(values->bank);
    unsigned pcr = pcr_from_name(name);

    if (pcr == PCR_COUNT)
        return mu_fail(err, MU_CONFIG, "Measurements: '%.32s' is not known; PCR0 to PCR23 are",
                       name);
    if (!json_object_is_type(value, json_type_string) ||
        (size_t)json_object_get_string_len(value) != 2 * size ||
        !hex_decode(json_object_get_string(value), values->value[pcr].bytes, size))
        return mu_fail(err, MU_CONFIG, "Measurements: %s must be %zu hex digits (%s)", name,
                       2 * size, hash_name(values->bank));
    values->mask |= PCR_BIT(pcr);
    return MU_OK;
}

static enum mu_status parse_members(json_object *object, struct pcr_values *ret,
                                    struct mu_error *err)
{
    struct pcr_values values = {0};
    json_object *measurements = NULL;
    const char *algorithm = NULL;

    MU_TRY(json_member(object, "Measurements", json_type_object, MU_CONFIG, &measurements, err));
    MU_TRY(json_string(measurements, "HashAlgorithm", 32, MU_CONFIG, &algorithm, err));
    values.bank = bank_from_text(algorithm);
    if (values.bank == HASH_NONE)
        return mu_fail(err, MU_CONFIG, "HashAlgorithm '%s' is not SHA384 or SHA256", algorithm);

    json_object_object_foreach(measurements, name, value)
    {
        if (strcmp(name, "HashAlgorithm") != 0)
            MU_TRY(parse_value(name, value, &values, err));
    }
    if (values.mask == 0)
        return mu_fail(err, MU_CONFIG, "Measurements names no PCR");
    *ret = values;
    return MU_OK;
}

/* "Without": [2, 3] */
static enum mu_status parse_without(json_object *object, struct pcr_values *ret,
                                    struct mu_error *err)
{
    json_object *list = NULL;

    if (!json_object_object_get_ex(object, "Without", &list))
        return MU_OK;
    if (!json_object_is_type(list, json_type_array))
        return mu_fail(err, MU_CONFIG, "Without must be an array of PCR numbers");
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        json_object *item = json_object_array_get_idx(list, i);
        int64_t pcr = json_object_get_int64(item);

        if (!json_object_is_type(item, json_type_int) || pcr < 0 || pcr >= PCR_COUNT ||
            (PCR_BIT(pcr) & BASELINE_CLEAN_PCRS & ~ret->mask) == 0)
            return mu_fail(err, MU_CONFIG,
                           "Without names PCRs that are not in Measurements: 2, 3, 13 and 14 are "
                           "possible");
        ret->without |= PCR_BIT(pcr);
    }
    return MU_OK;
}

enum mu_status baseline_parse_object(json_object *object, const char *what, struct pcr_values *ret,
                                     struct mu_error *err)
{
    if (parse_members(object, ret, err) != MU_OK || parse_without(object, ret, err) != MU_OK)
        return mu_context(err, "%s", what);
    return MU_OK;
}

enum mu_status baseline_parse(struct bytes text, const char *what, struct pcr_values *ret,
                              struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;

    MU_TRY(json_parse(text, what, MU_CONFIG, &object, err));
    return baseline_parse_object(object, what, ret, err);
}

enum mu_status baseline_load(const char *path, struct pcr_values *ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer text = {0};

    MU_TRY(file_read(path, BASELINE_MAX_BYTES, &text, err));
    return baseline_parse(buffer_view(&text), path, ret, err);
}

bool baseline_add_values(json_object *object, const char *prefix, const struct pcr_values *values)
{
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        char name[16], hex[PCR_HEX_SIZE];

        (void)snprintf(name, sizeof(name), "%s%u", prefix, pcr);
        pcr_hex(values, pcr, hex);
        if (hex[0] != '\0' && !json_add_text(object, name, hex))
            return false;
    }
    return true;
}

static bool add_without(json_object *object, uint32_t without)
{
    json_object *list;

    if (without == 0)
        return true;
    list = json_object_new_array();
    if (!json_add(object, "Without", list))
        return false;
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        if ((without & PCR_BIT(pcr)) != 0 && !json_append(list, json_object_new_int((int)pcr)))
            return false;
    return true;
}

enum mu_status baseline_to_json(const struct pcr_values *values, json_object **ret,
                                struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;
    json_object *measurements = NULL;

    if (values->bank != HASH_SHA384 && values->bank != HASH_SHA256)
        return mu_fail(err, MU_CONFIG, "a baseline has SHA-384 or SHA-256 values, not %s",
                       hash_name(values->bank));
    object = json_object_new_object();
    measurements = json_object_new_object();
    if (!json_add(object, "Measurements", measurements) ||
        !json_add_text(measurements, "HashAlgorithm",
                       values->bank == HASH_SHA384 ? "SHA384" : "SHA256") ||
        !baseline_add_values(measurements, "PCR", values) || !add_without(object, values->without))
        return mu_oom(err);
    *ret = MU_TAKE(object);
    return MU_OK;
}

/* "PCR 4: expected 0123456789abcdef..., found ..."; PCRs that do not fit into `text` are left
 * out. */
static void append_difference(char *text, size_t cap, unsigned pcr,
                              const struct pcr_values *expected, const struct pcr_values *found)
{
    char want[SHORT_DIGITS + 1];
    char have[SHORT_DIGITS + 1] = "nothing";
    bool read = (found->mask & PCR_BIT(pcr)) != 0;
    size_t len = strlen(text);

    hex_encode((struct bytes){expected->value[pcr].bytes, SHORT_DIGITS / 2}, want);
    if (read)
        hex_encode((struct bytes){found->value[pcr].bytes, SHORT_DIGITS / 2}, have);
    (void)snprintf(text + len, cap - len, "%sPCR %u: expected %s..., found %s%s",
                   len > 0 ? "; " : "", pcr, want, have, read ? "..." : "");
}

enum mu_status baseline_compare(const struct pcr_values *expected, const struct pcr_values *found,
                                uint32_t *ret_differ, struct mu_error *err)
{
    char text[sizeof(err->text)] = "";
    uint32_t differ;

    if (expected->bank != found->bank)
        return mu_fail(err, MU_CONFIG, "the baseline has %s values, the other side %s",
                       hash_name(expected->bank), hash_name(found->bank));
    if (expected->mask == 0 || hash_size(expected->bank) == 0)
        return mu_fail(err, MU_CONFIG, "the baseline names no PCR");
    differ = pcr_differing(expected, found) & expected->mask;
    *ret_differ = differ;
    if (differ == 0)
        return MU_OK;
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        if ((differ & PCR_BIT(pcr)) != 0)
            append_difference(text, sizeof(text), pcr, expected, found);
    return mu_fail(err, MU_REFUSE, "%s", text);
}

enum mu_status baseline_clean_value(enum hash_alg bank, unsigned pcr, struct digest *ret,
                                    struct mu_error *err)
{
    static const uint8_t separator[4] = {0};
    struct digest digest;

    *ret = (struct digest){{0}};
    if (pcr != 2 && pcr != 3)
        return MU_OK;
    MU_TRY(hash_bytes(bank, (struct bytes){separator, sizeof(separator)}, &digest, err));
    return hash_extend(bank, ret, digest.bytes, err);
}

bool baseline_has_secure_boot(const struct pcr_values *values)
{
    /* SecureBoot = 0, empty PK, KEK, db and dbx, separator. */
    static const uint8_t off_sha384[] = {0x98, 0x44, 0x1c, 0x7f, 0x76, 0x25, 0xd1, 0x00, 0x58, 0xc4,
                                         0x76, 0x83, 0xae, 0xc4, 0x86, 0xce, 0x31, 0x1c, 0x63, 0x32,
                                         0x35, 0xeb, 0x55, 0x55, 0x93, 0xa7, 0xee, 0x79, 0x11, 0x21,
                                         0xe3, 0x57, 0x8a, 0xe7, 0x2d, 0x04, 0xec, 0xef, 0x66, 0x1f,
                                         0x27, 0x2d, 0x59, 0x05, 0x8b, 0x77, 0xaf, 0x35};
    static const uint8_t off_sha256[] = {0x65, 0xca, 0xf8, 0xdd, 0x1e, 0x0e, 0xa7, 0xa6,
                                         0x34, 0x7b, 0x63, 0x5d, 0x2b, 0x37, 0x9c, 0x93,
                                         0xb9, 0xa1, 0x35, 0x1e, 0xdc, 0x2a, 0xfc, 0x3e,
                                         0xcd, 0xa7, 0x00, 0xe5, 0x34, 0xeb, 0x30, 0x68};
    struct bytes off = values->bank == HASH_SHA384 ? (struct bytes){off_sha384, sizeof(off_sha384)}
                                                   : (struct bytes){off_sha256, sizeof(off_sha256)};
    struct bytes found = {values->value[7].bytes, hash_size(values->bank)};

    return (values->mask & PCR_BIT(7)) != 0 && !bytes_all_zero(found) && !bytes_equal(found, off);
}

uint32_t baseline_lacks(const struct pcr_values *values)
{
    return BASELINE_CLEAN_PCRS & ~values->mask & ~values->without;
}

void baseline_pcr_names(uint32_t mask, char ret[static BASELINE_NAMES_MAX])
{
    size_t len = 0;

    ret[0] = '\0';
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        if ((mask & PCR_BIT(pcr)) == 0)
            continue;
        mask &= ~PCR_BIT(pcr);
        len += (size_t)snprintf(ret + len, BASELINE_NAMES_MAX - len, "%s%u",
                                len == 0    ? ""
                                : mask == 0 ? " and "
                                            : ", ",
                                pcr);
    }
}

static enum mu_status check_clean(const struct pcr_values *values, struct mu_error *err)
{
    char names[BASELINE_NAMES_MAX];

    if ((values->mask & PCR_BIT(12)) == 0)
        return mu_fail(
            err, MU_CONFIG,
            "the baseline lacks PCR 12 (command line from outside): record or predict it "
            "again without --pcr");
    if (baseline_has_secure_boot(values) || baseline_lacks(values) == 0)
        return MU_OK;
    baseline_pcr_names(baseline_lacks(values), names);
    return mu_fail(err, MU_CONFIG,
                   "the baseline lacks PCR %s: without Secure Boot, a UEFI driver (2, 3), an "
                   "extension image (13) or a MOK (14) would go unnoticed; record or predict it "
                   "again without --pcr, or leave them out knowingly with --without-pcr",
                   names);
}

static enum mu_status check_variable(const struct pcr_values *values, unsigned fence_pcr,
                                     struct mu_error *err)
{
    if ((values->mask & PCR_BIT(1)) != 0)
        return mu_fail(err, MU_CONFIG,
                       "the baseline names PCR 1, which is not constant on EC2: leave it out");
    if (fence_pcr < PCR_COUNT && (values->mask & PCR_BIT(fence_pcr)) != 0)
        return mu_fail(err, MU_CONFIG,
                       "the baseline names PCR %u, which is the fence and changes in each boot: "
                       "leave it out (--pcr or --without-pcr)",
                       fence_pcr);
    return MU_OK;
}

enum mu_status baseline_check_complete(const struct pcr_values *values, unsigned fence_pcr,
                                       struct mu_error *err)
{
    MU_TRY(check_variable(values, fence_pcr, err));
    if ((values->mask & (PCR_BIT(4) | PCR_BIT(7))) == 0)
        return mu_fail(err, MU_CONFIG,
                       "the baseline has neither PCR 4 nor PCR 7: the others are equal on every "
                       "machine and prove nothing");
    if ((values->mask & PCR_BIT(4)) == 0 && !baseline_has_secure_boot(values))
        return mu_fail(err, MU_CONFIG,
                       "PCR 7 says that Secure Boot is off, so any image fits: PCR 4 is needed "
                       "('muctl baseline predict --image IMAGE' without --pcr)");
    return check_clean(values, err);
}

enum mu_status baseline_check_baked(const struct pcr_values *values, unsigned fence_pcr,
                                    struct mu_error *err)
{
    MU_TRY(check_variable(values, fence_pcr, err));
    return check_clean(values, err);
}
