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

/* "PCR0" to "PCR23", no other spelling; PCR_COUNT if it is none. */
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

enum mu_status baseline_parse_object(json_object *object, const char *what, struct pcr_values *ret,
                                     struct mu_error *err)
{
    if (parse_members(object, ret, err) != MU_OK)
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

static bool add_measurements(json_object *measurements, const struct pcr_values *values)
{
    char text[2 * HASH_MAX_SIZE + 1] = "SHA384";

    if (values->bank == HASH_SHA256)
        (void)snprintf(text, sizeof(text), "SHA256");
    if (!json_add_text(measurements, "HashAlgorithm", text))
        return false;
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        char name[8];

        if ((values->mask & PCR_BIT(pcr)) == 0)
            continue;
        (void)snprintf(name, sizeof(name), "PCR%u", pcr);
        hex_encode((struct bytes){values->value[pcr].bytes, hash_size(values->bank)}, text);
        if (!json_add_text(measurements, name, text))
            return false;
    }
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
    if (object == NULL || measurements == NULL ||
        json_object_object_add(object, "Measurements", measurements) != 0) {
        json_free(&measurements);
        return mu_oom(err);
    }
    if (!add_measurements(measurements, values))
        return mu_oom(err);
    *ret = object;
    object = NULL;
    return MU_OK;
}

/* "PCR 4: expected 0123456789abcdef..., found ..."; what does not fit `text` is left out. */
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
    uint32_t differ = 0;
    size_t size = hash_size(expected->bank);

    if (expected->bank != found->bank)
        return mu_fail(err, MU_CONFIG, "the baseline has %s values, the other side %s",
                       hash_name(expected->bank), hash_name(found->bank));
    if (expected->mask == 0 || size == 0)
        return mu_fail(err, MU_CONFIG, "the baseline names no PCR");
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        bool equal = bytes_equal((struct bytes){expected->value[pcr].bytes, size},
                                 (struct bytes){found->value[pcr].bytes, size});

        if (!equal || (found->mask & PCR_BIT(pcr)) == 0)
            differ |= PCR_BIT(pcr) & expected->mask;
    }
    *ret_differ = differ;
    if (differ == 0)
        return MU_OK;
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        if ((differ & PCR_BIT(pcr)) != 0)
            append_difference(text, sizeof(text), pcr, expected, found);
    return mu_fail(err, MU_REFUSE, "%s", text);
}

enum mu_status baseline_check_complete(const struct pcr_values *values, unsigned fence_pcr,
                                       struct mu_error *err)
{
    if ((values->mask & PCR_BIT(1)) != 0)
        return mu_fail(err, MU_CONFIG,
                       "the baseline names PCR 1, which is not constant on EC2: leave it out");
    if (fence_pcr < PCR_COUNT && (values->mask & PCR_BIT(fence_pcr)) != 0)
        return mu_fail(err, MU_CONFIG,
                       "the baseline names PCR %u, which is the fence and changes in each boot: "
                       "leave it out",
                       fence_pcr);
    if ((values->mask & PCR_BIT(12)) == 0)
        return mu_fail(err, MU_CONFIG,
                       "the baseline lacks PCR 12 (command line from outside): record it with "
                       "--pcr 4,7,12");
    if ((values->mask & (PCR_BIT(4) | PCR_BIT(7))) == 0)
        return mu_fail(err, MU_CONFIG,
                       "the baseline has neither PCR 4 nor PCR 7: the others are equal on every "
                       "machine and prove nothing");
    return MU_OK;
}
