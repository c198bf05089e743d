/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure/predict.h"

#include <stdio.h>
#include <string.h>

#include "measure/authenticode.h"

#define PREDICTABLE (PCR_BIT(4) | PCR_BIT(7) | PCR_BIT(11) | PCR_BIT(12))

/* systemd-stub 252 to 257 starts the kernel of a UKI through LoadImage(), which firmware measures
 * unless the stub, with Secure Boot, puts itself in the place of the one who does both; older and
 * newer ones load it by themselves. */
#define STUB_USES_LOADIMAGE 252
#define STUB_LOADS_BY_ITSELF 258

/* Sections are measured from 252 on; from 254 on, those that 252 does not know, too. */
#define STUB_MEASURES_SECTIONS 252
#define STUB_MEASURES_MORE 254

/* Before, the command line of a UKI may be handed over, and then is measured, as if it came from
 * outside. */
#define LOADER_KEEPS_COMMAND_LINE 257

struct image {
    struct bytes file, kernel;
    unsigned stub, loader; /* versions of systemd-stub and systemd-boot; 0: is not that */
    bool shim;
};

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

static bool contains(struct bytes text, const char *marker)
{
    return memmem(text.data, text.len, marker, strlen(marker)) != NULL;
}

/* .sdmagic: "#### LoaderInfo: systemd-stub 257.13-1~deb13u1 ####";
 * .sbat: "systemd-stub,1,The systemd Developers,systemd,257,https://systemd.io/". */
static enum mu_status inspect(struct bytes file, struct image *ret, struct mu_error *err)
{
    struct image image = {.file = file};
    struct bytes magic, sbat;

    MU_TRY(pe_section(file, ".linux", &image.kernel, err));
    MU_TRY(pe_section(file, ".sdmagic", &magic, err));
    MU_TRY(pe_section(file, ".sbat", &sbat, err));
    image.stub = number_after(magic, "LoaderInfo: systemd-stub ");
    if (image.stub == 0)
        image.stub = number_after(sbat, "The systemd Developers,systemd,");
    image.loader = number_after(magic, "LoaderInfo: systemd-boot ");
    image.shim = image.kernel.len == 0 && contains(file, "UEFI SHIM\n$Version");
    if (image.kernel.len > 0 && image.stub == 0)
        return mu_fail(err, MU_CONFIG,
                       "a UKI whose stub is not systemd-stub: what it measures is not known");
    *ret = image;
    return MU_OK;
}

static enum mu_status extend_uki_kernel(struct pcr_values *values, const struct image *image,
                                        bool secure_boot, struct mu_error *err)
{
    if (image->kernel.len == 0 || secure_boot || image->stub < STUB_USES_LOADIMAGE ||
        image->stub >= STUB_LOADS_BY_ITSELF)
        return MU_OK;
    if (extend_image(values, image->kernel, err) != MU_OK)
        return mu_context(err, "section .linux");
    return MU_OK;
}

static enum mu_status predict_pcr4(const struct image *images, size_t count, bool secure_boot,
                                   struct pcr_values *values, struct mu_error *err)
{
    static const char action[] = "Calling EFI Application from Boot Option";

    MU_TRY(extend(values, 4, (struct bytes){(const uint8_t *)action, strlen(action)}, err));
    MU_TRY(extend_separator(values, 4, err));
    for (size_t i = 0; i < count; i++) {
        if (extend_image(values, images[i].file, err) != MU_OK ||
            extend_uki_kernel(values, &images[i], secure_boot, err) != MU_OK)
            return mu_context(err, "image %zu", i + 1);
    }
    return MU_OK;
}

static void put_le64(uint8_t *to, uint64_t value)
{
    for (size_t i = 0; i < 8; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

/* PFP 10.2.6, UEFI_VARIABLE_DATA of one variable */
static enum mu_status extend_variable(struct pcr_values *values, const uint8_t guid[static 16],
                                      const char *name, struct bytes data, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer event = {0};
    size_t len = strlen(name), header = 32 + 2 * len;

    MU_TRY(buffer_alloc(&event, header + data.len, err));
    memcpy(event.data, guid, 16);
    put_le64(event.data + 16, len);
    put_le64(event.data + 24, data.len);
    for (size_t i = 0; i < len; i++) { /* UTF-16LE */
        event.data[32 + 2 * i] = (uint8_t)name[i];
        event.data[33 + 2 * i] = 0;
    }
    if (data.len > 0)
        memcpy(event.data + header, data.data, data.len);
    return extend(values, 7, buffer_view(&event), err);
}

/* EFI_GLOBAL_VARIABLE 8be4df61-93ca-11d2-aa0d-00e098032b8c,
 * EFI_IMAGE_SECURITY_DATABASE_GUID d719b2cb-3d3a-4596-a3bc-dad00e67656f */
static const uint8_t global[16] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                   0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
static const uint8_t database[16] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                     0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f};

/* What let each image start; the same entry is measured once. */
static enum mu_status extend_authorities(const struct predict_request *request,
                                         struct pcr_values *values, struct mu_error *err)
{
    struct bytes entry[PREDICT_IMAGES_MAX];

    for (size_t i = 0; i < request->count; i++) {
        bool measured = false;

        if (secureboot_authority(request->keys, request->images[i], &entry[i], err) != MU_OK)
            return mu_context(err, "image %zu", i + 1);
        for (size_t k = 0; k < i; k++)
            measured = measured || bytes_equal(entry[k], entry[i]);
        if (!measured)
            MU_TRY(extend_variable(values, database, "db", entry[i], err));
    }
    return MU_OK;
}

static enum mu_status predict_pcr7(const struct predict_request *request,
                                   const struct image *images, struct pcr_values *values,
                                   struct mu_error *err)
{
    static const struct secure_boot none = {0};
    const struct secure_boot *keys = request->keys != NULL ? request->keys : &none;
    const uint8_t on[1] = {request->keys != NULL};

    for (size_t i = 0; i < request->count; i++)
        if (images[i].shim)
            return mu_fail(err, MU_CONFIG,
                           "image %zu is shim, which measures variables of its own into PCR 7 that "
                           "change by themselves: use --pcr 4,12",
                           i + 1);
    MU_TRY(extend_variable(values, global, "SecureBoot", (struct bytes){on, 1}, err));
    MU_TRY(extend_variable(values, global, "PK", keys->pk, err));
    MU_TRY(extend_variable(values, global, "KEK", keys->kek, err));
    MU_TRY(extend_variable(values, database, "db", keys->db, err));
    MU_TRY(extend_variable(values, database, "dbx", keys->dbx, err));
    MU_TRY(extend_separator(values, 7, err));
    return request->keys != NULL ? extend_authorities(request, values, err) : MU_OK;
}

/* The name with its zero byte, then the contents. */
static enum mu_status extend_section(struct pcr_values *values, const struct image *image,
                                     const char *name, struct mu_error *err)
{
    struct bytes section;

    MU_TRY(pe_section(image->file, name, &section, err));
    if (section.len == 0)
        return MU_OK;
    MU_TRY(extend(values, 11, (struct bytes){(const uint8_t *)name, strlen(name) + 1}, err));
    return extend(values, 11, section, err);
}

static enum mu_status extend_sections(struct pcr_values *values, const struct image *image,
                                      struct mu_error *err)
{
    /* In the order in which they are measured, wherever they are in the image. */
    static const struct {
        const char *name;
        unsigned since;
    } measured[] = {
        {".linux", STUB_MEASURES_SECTIONS},   {".osrel", STUB_MEASURES_SECTIONS},
        {".cmdline", STUB_MEASURES_SECTIONS}, {".initrd", STUB_MEASURES_SECTIONS},
        {".ucode", STUB_MEASURES_MORE},       {".splash", STUB_MEASURES_SECTIONS},
        {".dtb", STUB_MEASURES_SECTIONS},     {".uname", STUB_MEASURES_MORE},
        {".sbat", STUB_MEASURES_MORE},        {".pcrpkey", STUB_MEASURES_SECTIONS},
    };
    /* What the stub chooses among these depends on the machine. */
    static const char *const chosen[] = {".profile", ".dtbauto", ".hwids", ".efifw"};

    for (size_t i = 0; i < sizeof(chosen) / sizeof(chosen[0]); i++) {
        struct bytes section = {0};

        if (pe_section(image->file, chosen[i], &section, err) != MU_OK || section.len > 0)
            return mu_fail(err, MU_CONFIG,
                           "PCR 11 of a UKI with a section '%s' is known only when it runs",
                           chosen[i]);
    }
    for (size_t i = 0; i < sizeof(measured) / sizeof(measured[0]); i++)
        if (image->stub >= measured[i].since)
            MU_TRY(extend_section(values, image, measured[i].name, err));
    return MU_OK;
}

static enum mu_status predict_pcr11(const struct predict_request *request,
                                    const struct image *images, struct pcr_values *values,
                                    struct mu_error *err)
{
    const struct image *uki = request->count > 0 ? &images[request->count - 1] : NULL;
    const char *phase = request->phases;

    if (uki == NULL || uki->kernel.len == 0)
        return mu_fail(err, MU_CONFIG, "PCR 11 is measured by a UKI, and the last image is none");
    if (uki->stub < STUB_MEASURES_SECTIONS ||
        (uki->stub > STUB_MEASURES_SECTIONS && uki->stub < STUB_MEASURES_MORE))
        return mu_fail(err, MU_CONFIG,
                       "what systemd-stub %u measures into PCR 11 is not known; of %d, and %d or "
                       "later, it is",
                       uki->stub, STUB_MEASURES_SECTIONS, STUB_MEASURES_MORE);
    MU_TRY(extend_sections(values, uki, err));
    while (*phase != '\0') {
        size_t len = strcspn(phase, ":");

        if (len == 0)
            return mu_fail(err, MU_USAGE, "--phase '%s': an empty phase", request->phases);
        MU_TRY(extend(values, 11, (struct bytes){(const uint8_t *)phase, len}, err));
        phase += len + (phase[len] == ':');
    }
    return MU_OK;
}

/* It stays zero, unless a boot loader hands a command line over, which systemd-boot measures. */
static enum mu_status predict_pcr12(const struct image *images, size_t count, struct mu_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (images[i].loader == 0)
            continue;
        if (images[i].loader < LOADER_KEEPS_COMMAND_LINE)
            return mu_fail(err, MU_CONFIG,
                           "image %zu, systemd-boot %u, may measure a UKI's own command line into "
                           "PCR 12; %d and later do not",
                           i + 1, images[i].loader, LOADER_KEEPS_COMMAND_LINE);
        if (i + 1 == count || images[i + 1].kernel.len == 0)
            return mu_fail(err, MU_CONFIG,
                           "image %zu, systemd-boot, measures the command line of what it starts "
                           "into PCR 12, unless that is a UKI: name the UKI next",
                           i + 1);
    }
    return MU_OK;
}

static enum mu_status inspect_all(const struct predict_request *request, struct image *images,
                                  struct mu_error *err)
{
    for (size_t i = 0; i < request->count; i++) {
        if (inspect(request->images[i], &images[i], err) != MU_OK)
            return mu_context(err, "image %zu", i + 1);
        if (images[i].kernel.len > 0 && i + 1 < request->count)
            return mu_fail(err, MU_CONFIG,
                           "image %zu is a UKI, which starts its own kernel: no image follows it",
                           i + 1);
    }
    return MU_OK;
}

enum mu_status predict(const struct predict_request *request, struct pcr_values *ret,
                       struct mu_error *err)
{
    struct pcr_values values = {.bank = request->bank, .mask = request->mask};
    struct image images[PREDICT_IMAGES_MAX];

    if (request->mask == 0 || (request->mask & ~PREDICTABLE) != 0)
        return mu_fail(err, MU_CONFIG, "only PCR 4, 7, 11 and 12 can be predicted");
    if (request->count == 0 || request->count > PREDICT_IMAGES_MAX)
        return mu_fail(err, MU_CONFIG,
                       "nothing can be predicted without an image, or of more than %d",
                       PREDICT_IMAGES_MAX);
    MU_TRY(inspect_all(request, images, err));
    if ((request->mask & PCR_BIT(4)) != 0)
        MU_TRY(predict_pcr4(images, request->count, request->keys != NULL, &values, err));
    if ((request->mask & PCR_BIT(7)) != 0)
        MU_TRY(predict_pcr7(request, images, &values, err));
    if ((request->mask & PCR_BIT(11)) != 0)
        MU_TRY(predict_pcr11(request, images, &values, err));
    if ((request->mask & PCR_BIT(12)) != 0)
        MU_TRY(predict_pcr12(images, request->count, err));
    *ret = values;
    return MU_OK;
}
