/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/predict.h"

#include <string.h>

#include "base/log.h"
#include "build/authenticode.h"
#include "build/cmdline.h"
#include "build/pe.h"
#include "measure/baseline.h"

/* Room for all events but the variables. */
#define LOG_BYTES 16384

#define PREDICTABLE (BASELINE_PCRS | PCR_BIT(11))

/* systemd-stub 252 to 257 starts the kernel of a UKI through LoadImage(), which firmware measures,
 * unless the stub, with Secure Boot, replaces the firmware's function that verifies and measures;
 * older and newer stubs load the kernel themselves. */
#define STUB_USES_LOADIMAGE 252
#define STUB_LOADS_BY_ITSELF 258

/* From these versions on systemd-stub measures what a UKI consists of into PCR 11, and a command
 * line that it is handed into PCR 12; .profile and its like are known to it. */
#define STUB_MEASURES 252
#define STUB_KNOWS_PROFILES 257

/* systemd-boot 254 and older reads the command line of a UKI and hands it back to it as if it came
 * from outside; from 252 on it measures that into PCR 12. */
#define LOADER_MEASURES 252
#define LOADER_KEEPS_COMMAND_LINE 255

#define COMMAND_LINE_MAX 2048

struct image {
    struct bytes file, kernel;
    struct buffer spare;   /* what `kernel` points into if the file does not have all of it */
    unsigned stub, loader; /* versions of systemd-stub and systemd-boot; 0: is not that */
    bool shim;
};

/* The log of the boot that is predicted, in one bank. */
struct prediction {
    enum hash_alg bank;
    uint32_t mask;
    struct writer log;
};

static bool is_secure(const struct predict_request *request)
{
    return request->keys != NULL && !request->setup_mode;
}

/* PFP 10.4.5.1 in the form of 10.2.1 */
static void begin_log(struct prediction *p)
{
    static const char signature[16] = "Spec ID Event03";
    static const uint8_t no_digest[20] = {0};
    struct writer *w = &p->log;

    writer_le(w, 0, 4);
    writer_le(w, EV_NO_ACTION, 4);
    writer_bytes(w, (struct bytes){no_digest, sizeof(no_digest)});
    writer_le(w, 33, 4);
    writer_bytes(w, (struct bytes){(const uint8_t *)signature, sizeof(signature)});
    writer_le(w, 0, 4);      /* platform class: client */
    writer_le(w, 0x0200, 2); /* version 2.0, minor first */
    writer_le(w, 0x0200, 2); /* errata 0, UINTN of 8 bytes */
    writer_le(w, 1, 4);
    writer_le(w, p->bank, 2);
    writer_le(w, hash_size(p->bank), 2);
    writer_le(w, 0, 1);
}

/* 10.2.2 */
static enum mu_status add_digest(struct prediction *p, unsigned pcr, uint32_t type,
                                 const struct digest *digest, struct bytes data,
                                 struct mu_error *err)
{
    struct writer *w = &p->log;

    writer_le(w, pcr, 4);
    writer_le(w, type, 4);
    writer_le(w, 1, 4);
    writer_le(w, p->bank, 2);
    writer_bytes(w, (struct bytes){digest->bytes, hash_size(p->bank)});
    writer_le(w, data.len, 4);
    writer_bytes(w, data);
    return w->failed ? mu_fail(err, MU_INTERNAL, "the predicted log does not fit") : MU_OK;
}

static enum mu_status add(struct prediction *p, unsigned pcr, uint32_t type, struct bytes measured,
                          struct bytes data, struct mu_error *err)
{
    struct digest digest;

    MU_TRY(hash_bytes(p->bank, measured, &digest, err));
    return add_digest(p, pcr, type, &digest, data, err);
}

static enum mu_status add_separator(struct prediction *p, unsigned pcr, struct mu_error *err)
{
    static const uint8_t zeros[4] = {0};
    const struct bytes separator = {zeros, sizeof(zeros)};

    return add(p, pcr, EV_SEPARATOR, separator, separator, err);
}

/* 10.2.3, UEFI_IMAGE_LOAD_EVENT, of which only the size is known */
static enum mu_status add_image(struct prediction *p, struct bytes image, struct mu_error *err)
{
    uint8_t event[32];
    struct writer w = writer_into(event, sizeof(event));
    struct digest digest;

    MU_TRY(authenticode_hash(image, p->bank, &digest, err));
    writer_le(&w, 0, 8);
    writer_le(&w, image.len, 8);
    writer_le(&w, 0, 8);
    writer_le(&w, 0, 8);
    return add_digest(p, 4, EV_EFI_BOOT_SERVICES_APPLICATION, &digest, (struct bytes){event, w.len},
                      err);
}

/* The number after `marker`; 0 if it is not there. */
static unsigned number_after(struct bytes text, const char *marker)
{
    size_t len = strlen(marker);
    const uint8_t *pos = text.len > 0 ? memmem(text.data, text.len, marker, len) : NULL;
    unsigned number = 0;

    if (pos == NULL)
        return 0;
    for (pos += len; pos < text.data + text.len && *pos >= '0' && *pos <= '9' && number < 10000;
         pos++)
        number = number * 10 + (*pos - '0');
    return number;
}

static bool contains(struct bytes text, const char *marker)
{
    return memmem(text.data, text.len, marker, strlen(marker)) != NULL;
}

/* Its UKIs for aarch64 are made by objcopy from a stub whose PE header has room for two sections
 * more: .sdmagic and .sbat are lost, and nothing else tells the version. nitro-tpm-pcr-compute
 * looks for the same words. */
static bool is_amazon_linux_2023(struct bytes file)
{
    MU_CLEANUP(buffer_free) struct buffer spare = {0};
    struct mu_error ignored = {0};
    struct bytes release;

    return pe_section(file, ".osrel", &spare, &release, &ignored) == MU_OK &&
           contains(release, "NAME=\"Amazon Linux\"") && contains(release, "VERSION=\"2023\"");
}

/* .sdmagic: "#### LoaderInfo: systemd-stub 257.13-1~deb13u1 ####";
 * .sbat: "systemd-stub,1,The systemd Developers,systemd,257,https://systemd.io/". */
static enum mu_status inspect(struct bytes file, struct image *ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer spare_magic = {0};
    MU_CLEANUP(buffer_free) struct buffer spare_sbat = {0};
    struct bytes magic, sbat;

    ret->file = file;
    MU_TRY(pe_section(file, ".linux", &ret->spare, &ret->kernel, err));
    MU_TRY(pe_section(file, ".sdmagic", &spare_magic, &magic, err));
    if (magic.len == 0 && ret->kernel.len > 0) /* systemd-stub 249 and older: among its data */
        MU_TRY(pe_section(file, ".data", &spare_magic, &magic, err));
    MU_TRY(pe_section(file, ".sbat", &spare_sbat, &sbat, err));
    ret->stub = number_after(magic, "LoaderInfo: systemd-stub ");
    if (ret->stub == 0)
        ret->stub = number_after(sbat, "The systemd Developers,systemd,");
    if (ret->stub == 0 && ret->kernel.len > 0 && is_amazon_linux_2023(file))
        ret->stub = 252;
    ret->loader = number_after(magic, "LoaderInfo: systemd-boot ");
    ret->shim = ret->kernel.len == 0 && contains(file, "UEFI SHIM\n$Version");
    if (ret->kernel.len > 0 && ret->stub == 0)
        return mu_fail(err, MU_CONFIG,
                       "a UKI whose stub is not systemd-stub: what it measures is not known");
    return MU_OK;
}

static enum mu_status add_uki_kernel(struct prediction *p, const struct image *image,
                                     bool secure_boot, struct mu_error *err)
{
    if (image->kernel.len == 0 || secure_boot || image->stub < STUB_USES_LOADIMAGE ||
        image->stub >= STUB_LOADS_BY_ITSELF)
        return MU_OK;
    if (add_image(p, image->kernel, err) != MU_OK)
        return mu_context(err, "section .linux");
    return MU_OK;
}

static enum mu_status predict_pcr4(const struct image *images, size_t count, bool secure_boot,
                                   struct prediction *p, struct mu_error *err)
{
    static const char text[] = EVENTLOG_BOOT_ACTION;
    const struct bytes action = {(const uint8_t *)text, strlen(text)};

    MU_TRY(add(p, 4, EV_EFI_ACTION, action, action, err));
    MU_TRY(add_separator(p, 4, err));
    for (size_t i = 0; i < count; i++) {
        if (add_image(p, images[i].file, err) != MU_OK ||
            add_uki_kernel(p, &images[i], secure_boot, err) != MU_OK)
            return mu_context(err, "image %zu", i + 1);
    }
    return MU_OK;
}

/* PFP 10.2.6, UEFI_VARIABLE_DATA of one variable */
static enum mu_status add_variable(struct prediction *p, uint32_t type,
                                   const uint8_t guid[static 16], const char *name,
                                   struct bytes data, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer event = {0};
    size_t len = strlen(name);
    struct writer w;

    MU_TRY(buffer_alloc(&event, 32 + 2 * len + data.len, err));
    w = writer_into(event.data, event.len);
    writer_bytes(&w, (struct bytes){guid, 16});
    writer_le(&w, len, 8);
    writer_le(&w, data.len, 8);
    for (size_t i = 0; i < len; i++)
        writer_le(&w, (uint8_t)name[i], 2); /* UTF-16LE */
    writer_bytes(&w, data);
    return add(p, 7, type, buffer_view(&event), buffer_view(&event), err);
}

/* What let each image start; the same entry is measured once. */
static enum mu_status add_authorities(const struct predict_request *request, struct prediction *p,
                                      struct mu_error *err)
{
    struct bytes entry[PREDICT_IMAGES_MAX];

    for (size_t i = 0; i < request->count; i++) {
        bool measured = false;

        if (secureboot_authority(request->keys, request->images[i], &entry[i], err) != MU_OK)
            return mu_context(err, "image %zu", i + 1);
        for (size_t k = 0; k < i; k++)
            measured = measured || bytes_equal(entry[k], entry[i]);
        if (!measured)
            MU_TRY(add_variable(p, EV_EFI_VARIABLE_AUTHORITY, secureboot_database_guid, "db",
                                entry[i], err));
    }
    return MU_OK;
}

static enum mu_status predict_pcr7(const struct predict_request *request, struct prediction *p,
                                   struct mu_error *err)
{
    static const struct secure_boot none = {0};
    const struct secure_boot *keys = request->keys != NULL ? request->keys : &none;
    const uint8_t on[1] = {is_secure(request)};
    const uint32_t type = EV_EFI_VARIABLE_DRIVER_CONFIG;

    MU_TRY(add_variable(p, type, secureboot_global_guid, "SecureBoot", (struct bytes){on, 1}, err));
    MU_TRY(add_variable(p, type, secureboot_global_guid, "PK", keys->pk, err));
    MU_TRY(add_variable(p, type, secureboot_global_guid, "KEK", keys->kek, err));
    MU_TRY(add_variable(p, type, secureboot_database_guid, "db", keys->db, err));
    MU_TRY(add_variable(p, type, secureboot_database_guid, "dbx", keys->dbx, err));
    MU_TRY(add_separator(p, 7, err));
    return is_secure(request) ? add_authorities(request, p, err) : MU_OK;
}

/* The name with its zero byte, then the contents; the log has the name in UTF-16 for both. */
static enum mu_status add_section(struct prediction *p, const struct image *image, const char *name,
                                  struct mu_error *err)
{
    const struct bytes title = {(const uint8_t *)name, strlen(name) + 1};
    uint8_t utf16[2 * 16];
    struct writer w = writer_into(utf16, sizeof(utf16));
    MU_CLEANUP(buffer_free) struct buffer spare = {0};
    struct bytes section;

    MU_TRY(pe_section(image->file, name, &spare, &section, err));
    if (section.len == 0)
        return MU_OK;
    for (size_t i = 0; i < title.len; i++)
        writer_le(&w, title.data[i], 2);
    MU_TRY(add(p, 11, EV_IPL, title, (struct bytes){utf16, w.len}, err));
    return add(p, 11, EV_IPL, section, (struct bytes){utf16, w.len}, err);
}

static enum mu_status add_sections(struct prediction *p, const struct image *image,
                                   struct mu_error *err)
{
    /* In the order in which they are measured, wherever they are in the image. */
    static const struct {
        const char *name;
        unsigned since;
    } measured[] = {
        {".linux", STUB_MEASURES},   {".osrel", STUB_MEASURES}, {".cmdline", STUB_MEASURES},
        {".initrd", STUB_MEASURES},  {".ucode", 256},           {".splash", STUB_MEASURES},
        {".dtb", STUB_MEASURES},     {".uname", 254},           {".sbat", 254},
        {".pcrpkey", STUB_MEASURES},
    };

    for (size_t i = 0; i < MU_COUNT(measured); i++)
        if (image->stub >= measured[i].since)
            MU_TRY(add_section(p, image, measured[i].name, err));
    return MU_OK;
}

/* Without a UKI nothing is measured into this PCR: systemd-pcrphase requires one, too. */
static enum mu_status predict_pcr11(const struct predict_request *request, const struct image *last,
                                    struct prediction *p, struct mu_error *err)
{
    const char *phase = request->phases;

    if (last->kernel.len == 0)
        return MU_OK;
    MU_TRY(add_sections(p, last, err));
    while (*phase != '\0') {
        const size_t len = strcspn(phase, ":");
        const struct bytes word = {(const uint8_t *)phase, len};

        if (len == 0)
            return mu_fail(err, MU_USAGE, "--phase '%s': an empty phase", request->phases);
        MU_TRY(add(p, 11, EV_IPL, word, word, err));
        phase += len + (phase[len] == ':');
    }
    return MU_OK;
}

/* The UKI's own command line, if `loader` hands it to it; else *ret is empty. */
static enum mu_status handed_over(const struct image *loader, const struct image *uki,
                                  struct buffer *spare, struct bytes *ret, struct mu_error *err)
{
    *ret = (struct bytes){NULL, 0};
    if (loader->loader == 0 || loader->loader >= LOADER_KEEPS_COMMAND_LINE)
        return MU_OK;
    return pe_section(uki->file, ".cmdline", spare, ret, err);
}

/* The command line as it is handed over: up to a zero byte, control characters are spaces, none of
 * them at the end; then UTF-16 with a zero. False if that depends on the version, or is too long.
 */
static bool command_line(struct bytes section, struct writer *to)
{
    size_t len = strnlen((const char *)section.data, section.len);

    while (len > 0 && section.data[len - 1] <= ' ')
        len--;
    if (len == 0 || section.data[0] <= ' ')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (section.data[i] >= 0x7f)
            return false;
        writer_le(to, section.data[i] < ' ' ? ' ' : section.data[i], 2);
    }
    writer_le(to, 0, 2);
    return !to->failed;
}

static enum mu_status predict_pcr12(const struct image *images, size_t count, bool secure_boot,
                                    struct prediction *p, struct mu_error *err)
{
    uint8_t text[2 * COMMAND_LINE_MAX];
    struct writer w = writer_into(text, sizeof(text));
    const struct image *uki = &images[count - 1];
    MU_CLEANUP(buffer_free) struct buffer spare = {0};
    struct bytes line;

    if (count < 2)
        return MU_OK;
    MU_TRY(handed_over(&images[count - 2], uki, &spare, &line, err));
    if (line.len == 0)
        return MU_OK;
    if (!command_line(line, &w))
        return mu_fail(err, MU_INTERNAL, "an unknown command line");
    line = (struct bytes){text, w.len};
    if (images[count - 2].loader >= LOADER_MEASURES)
        MU_TRY(add(p, 12, EV_IPL, line, line, err));
    if (uki->stub >= STUB_MEASURES && !secure_boot)
        MU_TRY(add(p, 12, EV_IPL, line, line, err));
    return MU_OK;
}

static enum mu_status know_pcr7(const struct image *images, size_t count, struct mu_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (images[i].shim)
            return mu_fail(err, MU_CONFIG,
                           "image %zu is shim, which measures SbatLevel, its own lists of keys and "
                           "what they verify into PCR 7; these are in the machine and change by "
                           "themselves: use --pcr 4,12",
                           i + 1);
    return MU_OK;
}

static enum mu_status know_pcr14(const struct image *images, size_t count, struct mu_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (images[i].shim)
            return mu_fail(err, MU_CONFIG,
                           "image %zu is shim, which measures the machine owner's keys into PCR 14",
                           i + 1);
    return MU_OK;
}

static enum mu_status know_pcr11(const struct image *images, size_t count, struct mu_error *err)
{
    /* What the stub chooses among these depends on the machine. */
    static const char *const chosen[] = {".profile", ".dtbauto", ".hwids", ".efifw"};
    const struct image *last = &images[count - 1];

    if (last->kernel.len == 0 && (last->loader != 0 || last->shim))
        return mu_fail(err, MU_CONFIG,
                       "image %zu starts another one, which may be a UKI and measure itself into "
                       "PCR 11: name it, too",
                       count);
    if (last->kernel.len > 0 && last->stub < STUB_MEASURES)
        return mu_fail(err, MU_CONFIG,
                       "what systemd-stub %u measures into PCR 11 is not known; of %d or later, it "
                       "is",
                       last->stub, STUB_MEASURES);
    for (size_t i = 0; i < MU_COUNT(chosen); i++) {
        MU_CLEANUP(buffer_free) struct buffer spare = {0};
        struct bytes section = {0};

        if (last->stub >= STUB_KNOWS_PROFILES &&
            (pe_section(last->file, chosen[i], &spare, &section, err) != MU_OK || section.len > 0))
            return mu_fail(err, MU_CONFIG,
                           "PCR 11 of a UKI with a section '%s' is known only when it runs",
                           chosen[i]);
    }
    return MU_OK;
}

static enum mu_status know_pcr12(const struct image *images, size_t count, struct mu_error *err)
{
    uint8_t text[2 * COMMAND_LINE_MAX];

    for (size_t i = 0; i < count; i++) {
        struct writer w = writer_into(text, sizeof(text));
        MU_CLEANUP(buffer_free) struct buffer spare = {0};
        struct bytes line;

        if (images[i].loader == 0)
            continue;
        if (i + 1 == count || images[i + 1].kernel.len == 0)
            return mu_fail(err, MU_CONFIG,
                           "image %zu, systemd-boot, measures the command line of what it starts "
                           "into PCR 12, unless that is a UKI: name the UKI next",
                           i + 1);
        MU_TRY(handed_over(&images[i], &images[i + 1], &spare, &line, err));
        if (line.len > 0 && !command_line(line, &w))
            return mu_fail(
                err, MU_CONFIG,
                "image %zu, systemd-boot %u, hands the UKI's command line over, which is "
                "then measured into PCR 12; it is empty, long, not ASCII or begins with a "
                "space, and versions differ in what they make of that: use systemd-boot "
                "%d or later",
                i + 1, images[i].loader, LOADER_KEEPS_COMMAND_LINE);
    }
    return MU_OK;
}

/* Those of the PCRs that can be known. */
static enum mu_status settle_mask(const struct predict_request *request, const struct image *images,
                                  uint32_t *ret, struct mu_error *err)
{
    static const struct {
        unsigned pcr;
        enum mu_status (*know)(const struct image *images, size_t count, struct mu_error *err);
    } conditions[] = {{7, know_pcr7}, {11, know_pcr11}, {12, know_pcr12}, {14, know_pcr14}};
    uint32_t mask = request->mask;

    for (size_t i = 0; i < MU_COUNT(conditions); i++) {
        const uint32_t bit = PCR_BIT(conditions[i].pcr);

        if ((mask & bit) == 0 || conditions[i].know(images, request->count, err) == MU_OK)
            continue;
        if ((request->optional & bit) == 0)
            return err->status;
        log_line("PCR %u is left out: %s", conditions[i].pcr, err->text);
        mask &= ~bit;
    }
    *ret = mask;
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

struct images {
    struct image image[PREDICT_IMAGES_MAX];
};

static void images_free(struct images *images)
{
    for (size_t i = 0; i < PREDICT_IMAGES_MAX; i++)
        buffer_free(&images->image[i].spare);
}

static enum mu_status predict_events(const struct predict_request *request, struct prediction *p,
                                     struct mu_error *err)
{
    MU_CLEANUP(images_free) struct images all = {0};
    struct image *images = all.image;
    const bool secure_boot = is_secure(request);

    if (request->mask == 0 || (request->mask & ~PREDICTABLE) != 0)
        return mu_fail(err, MU_CONFIG, "only PCR 2, 3, 4, 7, 11, 12, 13 and 14 can be predicted");
    if (request->count == 0 || request->count > PREDICT_IMAGES_MAX)
        return mu_fail(err, MU_CONFIG, "a prediction needs 1 to %d images", PREDICT_IMAGES_MAX);
    MU_TRY(inspect_all(request, images, err));
    MU_TRY(settle_mask(request, images, &p->mask, err));
    begin_log(p);
    for (unsigned pcr = 2; pcr <= 3; pcr++)
        if ((p->mask & PCR_BIT(pcr)) != 0)
            MU_TRY(add_separator(p, pcr, err));
    if ((p->mask & PCR_BIT(7)) != 0)
        MU_TRY(predict_pcr7(request, p, err));
    if ((p->mask & PCR_BIT(4)) != 0)
        MU_TRY(predict_pcr4(images, request->count, secure_boot, p, err));
    if ((p->mask & PCR_BIT(11)) != 0)
        MU_TRY(predict_pcr11(request, &images[request->count - 1], p, err));
    if ((p->mask & PCR_BIT(12)) != 0)
        MU_TRY(predict_pcr12(images, request->count, secure_boot, p, err));
    return MU_OK;
}

static size_t log_size(const struct secure_boot *keys)
{
    if (keys == NULL)
        return LOG_BYTES;
    return LOG_BYTES + keys->pk.len + keys->kek.len + keys->dbx.len +
           (PREDICT_IMAGES_MAX + 1) * keys->db.len;
}

enum mu_status predict_log(const struct predict_request *request, struct eventlog *ret,
                           uint32_t *ret_mask, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer log = {0};
    struct prediction p = {.bank = request->bank};

    MU_TRY(buffer_alloc(&log, log_size(request->keys), err));
    p.log = writer_into(log.data, log.len);
    MU_TRY(predict_events(request, &p, err));
    *ret_mask = p.mask;
    return eventlog_parse((struct bytes){log.data, p.log.len}, ret, err);
}

enum mu_status predict_values(const struct predict_request *request, struct pcr_values *ret,
                              struct mu_error *err)
{
    MU_CLEANUP(eventlog_free) struct eventlog log = {0};
    struct pcr_values values;
    uint32_t mask;

    MU_TRY(predict_log(request, &log, &mask, err));
    MU_TRY(eventlog_replay(&log, request->bank, &values, err));
    values.mask = mask; /* some have no event */
    *ret = values;
    return MU_OK;
}

enum mu_status predict_phases(struct bytes uki, const char **ret, struct mu_error *err)
{
    MU_CLEANUP(cmdline_free) struct cmdline kernel = {0};
    MU_CLEANUP(cmdline_free) struct cmdline systemd = {0};
    MU_CLEANUP(buffer_free) struct buffer spare = {0};
    const struct cmdline_word *forced;
    struct bytes line;
    bool variables = true;

    MU_TRY(pe_section(uki, ".cmdline", &spare, &line, err));
    MU_TRY(cmdline_parse(line, CMDLINE_KERNEL, &kernel, err));
    MU_TRY(cmdline_parse(line, CMDLINE_SYSTEMD, &systemd, err));
    for (size_t i = 0; i < kernel.count; i++)
        if (cmdline_name_is(CMDLINE_KERNEL, kernel.word[i].name, "efi") &&
            !kernel.word[i].to_init && cmdline_lists(&kernel.word[i], "noruntime"))
            variables = false;
    forced = cmdline_last(&systemd, "systemd.tpm2_measured_os");
    if (forced != NULL)
        variables = !cmdline_is_off(CMDLINE_SYSTEMD, forced);
    *ret = variables ? EVENTLOG_PHASES : "";
    return MU_OK;
}

enum mu_status predict_boot_loader(struct bytes image, struct mu_error *err)
{
    struct image loader = {0};
    enum mu_status status = inspect(image, &loader, err);
    bool is_uki = loader.kernel.len > 0;

    buffer_free(&loader.spare);
    if (status != MU_OK)
        return status;
    if (is_uki)
        return mu_fail(err, MU_CONFIG, "this is a UKI, which starts its own kernel");
    if (loader.loader != 0 && loader.loader < LOADER_KEEPS_COMMAND_LINE)
        return mu_fail(err, MU_CONFIG,
                       "systemd-boot %u hands a UKI its own command line, so that PCR 12 depends "
                       "on both: name the UKI after it, as one image",
                       loader.loader);
    return MU_OK;
}
