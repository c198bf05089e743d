/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure/predict.h"

#include <stdio.h>
#include <string.h>

#include "measure/authenticode.h"

#define PREDICTABLE (PCR_BIT(4) | PCR_BIT(7) | PCR_BIT(12))

/* systemd-stub starts the kernel of a UKI through LoadImage(), which firmware measures, from 252 on
 * until 258 began to load it by itself. What older ones do is not worth knowing. */
#define STUB_OLDEST 252
#define STUB_LOADS_BY_ITSELF 258

static enum mu_status extend(struct pcr_values *values, unsigned pcr, struct bytes data,
                             struct mu_error *err)
{
    struct digest digest;

    MU_TRY(hash_bytes(values->bank, data, &digest, err));
    return hash_extend(values->bank, &values->value[pcr], digest.bytes, err);
}

static enum mu_status extend_separator(struct pcr_values *values, unsigned pcr,
                                       struct mu_error *err)
{
    static const uint8_t separator[4] = {0};

    return extend(values, pcr, (struct bytes){separator, sizeof(separator)}, err);
}

static enum mu_status extend_image(struct pcr_values *values, struct bytes image,
                                   struct mu_error *err)
{
    struct digest digest;

    MU_TRY(authenticode_hash(image, values->bank, &digest, err));
    return hash_extend(values->bank, &values->value[4], digest.bytes, err);
}

/* The number after `marker`; 0 if it is not there. */
static unsigned number_after(struct bytes text, const char *marker)
{
    size_t len = strlen(marker);
    const uint8_t *pos = memmem(text.data, text.len, marker, len);
    const uint8_t *end = text.data + text.len;
    unsigned number = 0;

    if (pos == NULL)
        return 0;
    for (pos += len; pos < end && *pos >= '0' && *pos <= '9' && number < 10000; pos++)
        number = number * 10 + (*pos - '0');
    return number;
}

/* .sdmagic: "#### LoaderInfo: systemd-stub 257.13-1~deb13u1 ####";
 * .sbat: "systemd-stub,1,The systemd Developers,systemd,257,https://systemd.io/". */
static enum mu_status stub_version(struct bytes image, unsigned *ret, struct mu_error *err)
{
    struct bytes magic, sbat;
    unsigned version;

    MU_TRY(pe_section(image, ".sdmagic", &magic, err));
    version = number_after(magic, "LoaderInfo: systemd-stub ");
    if (version == 0) {
        MU_TRY(pe_section(image, ".sbat", &sbat, err));
        version = number_after(sbat, "The systemd Developers,systemd,");
    }
    if (version < STUB_OLDEST)
        return mu_fail(err, MU_CONFIG,
                       "a UKI whose stub is not systemd-stub %d or later: what it measures is not "
                       "known",
                       STUB_OLDEST);
    *ret = version;
    return MU_OK;
}

static enum mu_status extend_uki_kernel(struct pcr_values *values, struct bytes image,
                                        struct bytes kernel, struct mu_error *err)
{
    unsigned version = 0;

    MU_TRY(stub_version(image, &version, err));
    if (version >= STUB_LOADS_BY_ITSELF)
        return MU_OK;
    if (extend_image(values, kernel, err) != MU_OK)
        return mu_context(err, "section .linux");
    return MU_OK;
}

/* TCG PC Client PFP 3.3.4.5 */
static enum mu_status predict_pcr4(const struct bytes *images, size_t count,
                                   struct pcr_values *values, struct mu_error *err)
{
    static const char action[] = "Calling EFI Application from Boot Option";

    MU_TRY(extend(values, 4, (struct bytes){(const uint8_t *)action, strlen(action)}, err));
    MU_TRY(extend_separator(values, 4, err));
    for (size_t i = 0; i < count; i++) {
        struct bytes kernel = {0};
        enum mu_status status = extend_image(values, images[i], err);

        if (status == MU_OK)
            status = pe_section(images[i], ".linux", &kernel, err);
        if (status == MU_OK && kernel.len > 0 && i + 1 < count)
            status = mu_fail(err, MU_CONFIG, "a UKI starts its own kernel: no image follows it");
        if (status == MU_OK && kernel.len > 0)
            status = extend_uki_kernel(values, images[i], kernel, err);
        if (status != MU_OK)
            return mu_context(err, "image %zu", i + 1);
    }
    return MU_OK;
}

/* UINT64, little-endian; all lengths here are below 256. */
static void write_length(struct writer *w, size_t len)
{
    const uint8_t le[8] = {(uint8_t)len};

    writer_bytes(w, (struct bytes){le, sizeof(le)});
}

/* PFP 10.2.6, UEFI_VARIABLE_DATA of one variable */
static enum mu_status extend_variable(struct pcr_values *values, const uint8_t guid[static 16],
                                      const char *name, struct bytes data, struct mu_error *err)
{
    uint8_t event[128] = {0};
    struct writer w = writer_into(event, sizeof(event));
    size_t len = strlen(name);

    writer_bytes(&w, (struct bytes){guid, 16});
    write_length(&w, len);
    write_length(&w, data.len);
    for (size_t i = 0; i < len; i++)
        writer_be16(&w, (uint16_t)((unsigned)(uint8_t)name[i] << 8)); /* UTF-16LE */
    writer_bytes(&w, data);
    if (w.failed)
        return mu_fail(err, MU_INTERNAL, "variable %s does not fit", name);
    return extend(values, 7, (struct bytes){event, w.len}, err);
}

/* PFP 3.3.4.8: SecureBoot is 0 and no keys are enrolled, as EC2 boots an AMI without UefiData. */
static enum mu_status predict_pcr7(struct pcr_values *values, struct mu_error *err)
{
    /* EFI_GLOBAL_VARIABLE 8be4df61-93ca-11d2-aa0d-00e098032b8c,
     * EFI_IMAGE_SECURITY_DATABASE_GUID d719b2cb-3d3a-4596-a3bc-dad00e67656f */
    static const uint8_t global[16] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                       0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
    static const uint8_t database[16] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                         0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f};
    static const uint8_t off[1] = {0};
    const struct bytes empty = {NULL, 0};

    MU_TRY(extend_variable(values, global, "SecureBoot", (struct bytes){off, 1}, err));
    MU_TRY(extend_variable(values, global, "PK", empty, err));
    MU_TRY(extend_variable(values, global, "KEK", empty, err));
    MU_TRY(extend_variable(values, database, "db", empty, err));
    MU_TRY(extend_variable(values, database, "dbx", empty, err));
    return extend_separator(values, 7, err);
}

enum mu_status predict(const struct bytes *images, size_t count, enum hash_alg bank, uint32_t mask,
                       struct pcr_values *ret, struct mu_error *err)
{
    struct pcr_values values = {.bank = bank, .mask = mask};

    if (mask == 0 || (mask & ~PREDICTABLE) != 0)
        return mu_fail(err, MU_CONFIG, "only PCR 4, 7 and 12 can be predicted");
    if ((mask & PCR_BIT(4)) != 0 && count == 0)
        return mu_fail(err, MU_CONFIG, "PCR 4 cannot be predicted without an image");
    if ((mask & PCR_BIT(4)) != 0)
        MU_TRY(predict_pcr4(images, count, &values, err));
    if ((mask & PCR_BIT(7)) != 0)
        MU_TRY(predict_pcr7(&values, err));
    *ret = values; /* PCR 12 stays zero: nothing is handed in from outside */
    return MU_OK;
}
