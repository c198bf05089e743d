/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "measure/devicepath.h"
#include "measure/eventlog.h"
#include "measure/signature_list.h"

#define EV_EFI_PLATFORM_FIRMWARE_BLOB2 0x8000000au
#define EV_EFI_HANDOFF_TABLES2 0x8000000bu

/* A describer appends to the text and returns false if the data is not what the type promises. */
typedef bool describer(struct text *text, const struct event *event);

static bool describe_guess(struct text *text, const struct event *event)
{
    text_guess(text, event->data);
    return true;
}

static bool describe_utf8(struct text *text, const struct event *event)
{
    text_utf8(text, event->data);
    return true;
}

static bool describe_hex(struct text *text, const struct event *event)
{
    text_hex(text, event->data);
    return true;
}

/* 10.4.5: the Spec ID event, StartupLocality, and others that are only text. */
static bool describe_no_action(struct text *text, const struct event *event)
{
    struct reader r = reader_of(event->data);
    struct bytes signature = reader_take(&r, 16);
    uint8_t locality;

    if (event_startup_locality(event, &locality)) {
        text_printf(text, "StartupLocality %u", locality);
        return true;
    }
    text_guess(text, r.failed ? event->data : signature);
    return true;
}

/* 10.2.7, EV_EVENT_TAG: TCG_PCClientTaggedEvent */
static bool describe_tagged(struct text *text, const struct event *event)
{
    static const struct {
        uint32_t id;
        const char *name;
    } tags[] = {
        {0xf5bc582a, "loader.conf"},    {0x6c46f751, "device tree add-on"},
        {0x49dffe0f, "initrd add-on"},  {0xdac08e1a, "microcode add-on"},
        {0x8f3b22ec, "initrd (Linux)"}, {0x8f3b22ed, "command line (Linux)"},
    };
    struct reader r = reader_of(event->data);
    uint32_t id = reader_le32(&r);
    struct bytes data = reader_take(&r, reader_le32(&r));
    const char *name = NULL;

    if (r.failed)
        return false;
    for (size_t i = 0; i < MU_COUNT(tags); i++)
        if (tags[i].id == id)
            name = tags[i].name;
    if (name != NULL)
        text_printf(text, "%s: ", name);
    else
        text_printf(text, "tag 0x%08x: ", id);
    text_guess(text, data);
    return true;
}

/* UEFI 2.10, 3.1.3: EFI_LOAD_OPTION */
static bool describe_load_option(struct text *text, struct bytes data)
{
    struct reader r = reader_of(data);
    uint16_t path_len, c;
    struct bytes name = {0};

    (void)reader_le32(&r); /* attributes */
    path_len = reader_le16(&r);
    name.data = r.pos;
    do {
        c = reader_le16(&r);
        name.len += c != 0 ? 2 : 0;
    } while (c != 0 && !r.failed);
    if (r.failed)
        return false;
    text_printf(text, "\"");
    text_utf16(text, name);
    text_printf(text, "\" ");
    devicepath_describe(text, reader_take(&r, path_len));
    return !r.failed;
}

static void describe_boot_order(struct text *text, struct bytes data)
{
    struct reader r = reader_of(data);
    const char *separator = "";

    while (reader_left(&r) >= 2) {
        text_printf(text, "%s%04x", separator, reader_le16(&r));
        separator = ",";
    }
}

bool event_variable_is(struct bytes utf16, const char *ascii)
{
    struct reader r = reader_of(utf16);

    if (utf16.len != 2 * strlen(ascii))
        return false;
    for (; *ascii != '\0'; ascii++)
        if (*ascii != '#' && reader_le16(&r) != (uint8_t)*ascii)
            return false;
        else if (*ascii == '#')
            (void)reader_le16(&r);
    return true;
}

bool event_variable(const struct event *event, struct bytes *ret_name, struct bytes *ret_data)
{
    struct reader r = reader_of(event->data);
    uint64_t name_chars, data_len;

    (void)reader_take(&r, 16); /* GUID */
    name_chars = reader_le64(&r);
    data_len = reader_le64(&r);
    if (r.failed || name_chars > event->data.len / 2 || data_len > event->data.len)
        return false;
    *ret_name = reader_take(&r, (size_t)name_chars * 2);
    *ret_data = reader_take(&r, (size_t)data_len);
    return !r.failed;
}

static bool describe_variable(struct text *text, const struct event *event)
{
    struct bytes name, data;

    if (!event_variable(event, &name, &data))
        return false;
    text_utf16(text, name);
    text_printf(text, " = ");
    if (data.len == 0)
        text_printf(text, "(empty)");
    else if (event_variable_is(name, "BootOrder"))
        describe_boot_order(text, data);
    else if (event_variable_is(name, "Boot####"))
        return describe_load_option(text, data);
    else if (data.len <= 8)
        text_hex(text, data);
    else if (event_variable_is(name, "SbatLevel"))
        text_guess(text, data);
    else if (!signature_list_describe_entry(text, data) && !signature_list_describe(text, data))
        text_printf(text, "%zu bytes", data.len);
    return true;
}

/* 10.2.3, UEFI_IMAGE_LOAD_EVENT */
static bool describe_image(struct text *text, const struct event *event)
{
    struct reader r = reader_of(event->data);
    uint64_t size, path_len;

    (void)reader_le64(&r); /* address */
    size = reader_le64(&r);
    (void)reader_le64(&r); /* link time address */
    path_len = reader_le64(&r);
    if (r.failed || path_len > reader_left(&r))
        return false;
    if (path_len > 0)
        devicepath_describe(text, reader_take(&r, (size_t)path_len));
    else
        text_printf(text, "an image of %" PRIu64 " bytes without a path", size);
    return true;
}

/* 10.2.4, UEFI_GPT_DATA */
static bool describe_gpt(struct text *text, const struct event *event)
{
    struct reader r = reader_of(event->data);
    struct bytes guid;
    uint64_t partitions;

    (void)reader_take(&r, 56);
    guid = reader_take(&r, 16);
    (void)reader_take(&r, 20);
    partitions = reader_le64(&r);
    if (r.failed)
        return false;
    text_printf(text, "disk ");
    text_guid(text, guid);
    text_printf(text, ", %" PRIu64 " partitions", partitions);
    return true;
}

/* In _BLOB2 and _POINTERS2 a name comes first. */
static struct reader after_name(struct text *text, const struct event *event, bool named)
{
    struct reader r = reader_of(event->data);
    struct bytes name = named ? reader_take(&r, reader_u8(&r)) : (struct bytes){0};

    if (name.len > 0) {
        text_guess(text, name);
        text_printf(text, ": ");
    }
    return r;
}

/* 10.2.5, UEFI_PLATFORM_FIRMWARE_BLOB and _BLOB2 */
static bool describe_blob(struct text *text, const struct event *event)
{
    struct reader r = after_name(text, event, event->type == EV_EFI_PLATFORM_FIRMWARE_BLOB2);
    uint64_t base = reader_le64(&r);
    uint64_t size = reader_le64(&r);

    text_printf(text, "%" PRIu64 " bytes at 0x%" PRIx64, size, base);
    return !r.failed;
}

/* 10.2.5, UEFI_HANDOFF_TABLE_POINTERS and _POINTERS2 */
static bool describe_tables(struct text *text, const struct event *event)
{
    struct reader r = after_name(text, event, event->type == EV_EFI_HANDOFF_TABLES2);
    uint64_t count = reader_le64(&r);

    text_printf(text, "%" PRIu64 " tables:", count);
    for (uint64_t i = 0; i < count && !r.failed && !text->full; i++) {
        struct bytes guid = reader_take(&r, 16);

        (void)reader_le64(&r);
        text_printf(text, " ");
        text_guid(text, guid);
    }
    return !r.failed;
}

/* Table 27 */
static const struct {
    uint32_t type;
    const char *name;
    describer *describe;
} types[] = {
    {0x00000000, "EV_PREBOOT_CERT", describe_guess},
    {0x00000001, "EV_POST_CODE", describe_guess},
    {0x00000002, "EV_UNUSED", describe_guess},
    {0x00000003, "EV_NO_ACTION", describe_no_action},
    {0x00000004, "EV_SEPARATOR", describe_hex},
    {0x00000005, "EV_ACTION", describe_guess},
    {0x00000006, "EV_EVENT_TAG", describe_tagged},
    {0x00000007, "EV_S_CRTM_CONTENTS", describe_guess},
    {0x00000008, "EV_S_CRTM_VERSION", describe_guess},
    {0x00000009, "EV_CPU_MICROCODE", describe_guess},
    {0x0000000a, "EV_PLATFORM_CONFIG_FLAGS", describe_guess},
    {0x0000000b, "EV_TABLE_OF_DEVICES", describe_guess},
    {0x0000000c, "EV_COMPACT_HASH", describe_guess},
    {0x0000000d, "EV_IPL", describe_guess},
    {0x0000000e, "EV_IPL_PARTITION_DATA", describe_guess},
    {0x0000000f, "EV_NONHOST_CODE", describe_guess},
    {0x00000010, "EV_NONHOST_CONFIG", describe_guess},
    {0x00000011, "EV_NONHOST_INFO", describe_guess},
    {0x00000012, "EV_OMIT_BOOT_DEVICE_EVENTS", describe_guess},
    {0x00000013, "EV_POST_CODE2", describe_guess},
    {0x80000001, "EV_EFI_VARIABLE_DRIVER_CONFIG", describe_variable},
    {0x80000002, "EV_EFI_VARIABLE_BOOT", describe_variable},
    {0x80000003, "EV_EFI_BOOT_SERVICES_APPLICATION", describe_image},
    {0x80000004, "EV_EFI_BOOT_SERVICES_DRIVER", describe_image},
    {0x80000005, "EV_EFI_RUNTIME_SERVICES_DRIVER", describe_image},
    {0x80000006, "EV_EFI_GPT_EVENT", describe_gpt},
    {0x80000007, "EV_EFI_ACTION", describe_guess},
    {0x80000008, "EV_EFI_PLATFORM_FIRMWARE_BLOB", describe_blob},
    {0x80000009, "EV_EFI_HANDOFF_TABLES", describe_tables},
    {EV_EFI_PLATFORM_FIRMWARE_BLOB2, "EV_EFI_PLATFORM_FIRMWARE_BLOB2", describe_blob},
    {EV_EFI_HANDOFF_TABLES2, "EV_EFI_HANDOFF_TABLES2", describe_tables},
    {0x8000000c, "EV_EFI_VARIABLE_BOOT2", describe_variable},
    {0x8000000d, "EV_EFI_GPT_EVENT2", describe_gpt},
    {EV_EFI_HCRTM_EVENT, "EV_EFI_HCRTM_EVENT", describe_guess},
    {0x800000e0, "EV_EFI_VARIABLE_AUTHORITY", describe_variable},
    {0x800000e1, "EV_EFI_SPDM_FIRMWARE_BLOB", describe_guess},
    {0x800000e2, "EV_EFI_SPDM_FIRMWARE_CONFIG", describe_guess},
    {0x800000e3, "EV_EFI_SPDM_DEVICE_POLICY", describe_variable},
    {0x800000e4, "EV_EFI_SPDM_DEVICE_AUTHORITY", describe_variable},
    {EV_USERSPACE, "user space", describe_utf8},
};

const char *event_type_name(uint32_t type, char unknown[static 16])
{
    for (size_t i = 0; i < MU_COUNT(types); i++)
        if (types[i].type == type)
            return types[i].name;
    (void)snprintf(unknown, 16, "0x%08x", type);
    return unknown;
}

void event_describe(const struct event *event, char *to, size_t len)
{
    describer *describe = describe_guess;
    struct text text;

    for (size_t i = 0; i < MU_COUNT(types); i++)
        if (types[i].type == event->type)
            describe = types[i].describe;
    text = text_into(to, len);
    if (event->data.len == 0) {
        text_printf(&text, "(no data)");
        return;
    }
    if (describe(&text, event))
        return;
    text = text_into(to, len);
    text_printf(&text, "malformed: ");
    text_hex(&text, event->data);
}
