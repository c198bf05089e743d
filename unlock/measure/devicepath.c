/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure/devicepath.h"

#define NODE(type, subtype) ((type) << 8 | (subtype))
#define END_ENTIRE NODE(0x7f, 0xff)

static void acpi(struct text *text, struct reader *r)
{
    uint32_t hid = reader_le32(r);
    uint32_t uid = reader_le32(r);

    if (hid == 0x0a0341d0) /* EISA id PNP0A03 */
        text_printf(text, "PciRoot(0x%x)", uid);
    else
        text_printf(text, "Acpi(0x%x,0x%x)", hid, uid);
}

static void pci(struct text *text, struct reader *r)
{
    uint8_t function = reader_u8(r);

    text_printf(text, "Pci(0x%x,0x%x)", reader_u8(r), function);
}

static void scsi(struct text *text, struct reader *r)
{
    uint16_t target = reader_le16(r);

    text_printf(text, "Scsi(%u,%u)", target, reader_le16(r));
}

static void sata(struct text *text, struct reader *r)
{
    text_printf(text, "Sata(%u)", reader_le16(r));
}

static void nvme(struct text *text, struct reader *r)
{
    text_printf(text, "NVMe(%u)", reader_le32(r));
}

static void usb(struct text *text, struct reader *r)
{
    uint8_t port = reader_u8(r);

    text_printf(text, "USB(%u,%u)", port, reader_u8(r));
}

static void mac(struct text *text, struct reader *r)
{
    text_printf(text, "MAC(");
    text_hex(text, reader_take(r, 6));
    text_printf(text, ")");
}

static void uri(struct text *text, struct reader *r)
{
    text_printf(text, "Uri(");
    text_utf8(text, reader_take(r, reader_left(r)));
    text_printf(text, ")");
}

static void partition(struct text *text, struct reader *r)
{
    uint32_t number = reader_le32(r);
    struct bytes signature;

    (void)reader_take(r, 16); /* start, size */
    signature = reader_take(r, 16);
    (void)reader_u8(r); /* partition format */
    text_printf(text, "HD(%u", number);
    if (reader_u8(r) == 2 && !r->failed) { /* GUID */
        text_printf(text, ",");
        text_guid(text, signature);
    }
    text_printf(text, ")");
}

static void compact_disc(struct text *text, struct reader *r)
{
    text_printf(text, "CDROM(%u)", reader_le32(r));
}

static void range(struct text *text, struct reader *r)
{
    unsigned long long start;

    (void)reader_le32(r);
    start = reader_le64(r);
    text_printf(text, "Offset(0x%llx,0x%llx)", start, (unsigned long long)reader_le64(r));
}

static void file(struct text *text, struct reader *r)
{
    struct bytes name = reader_take(r, reader_left(r));

    if (name.len >= 2 && bytes_all_zero((struct bytes){name.data + name.len - 2, 2}))
        name.len -= 2;
    text_utf16(text, name);
}

static void guid_of(struct text *text, struct reader *r, const char *name)
{
    text_printf(text, "%s(", name);
    text_guid(text, reader_take(r, 16));
    text_printf(text, ")");
}

static void vendor_hardware(struct text *text, struct reader *r)
{
    guid_of(text, r, "VenHw");
}

static void vendor_media(struct text *text, struct reader *r)
{
    guid_of(text, r, "VenMedia");
}

static void volume(struct text *text, struct reader *r)
{
    guid_of(text, r, "Fv");
}

static void volume_file(struct text *text, struct reader *r)
{
    guid_of(text, r, "FvFile");
}

static void memory(struct text *text, struct reader *r)
{
    (void)reader_le32(r);
    text_printf(text, "Memory(0x%llx)", (unsigned long long)reader_le64(r));
}

/* BIOS boot specification: device type, status, description */
static void bios_boot(struct text *text, struct reader *r)
{
    uint16_t type = reader_le16(r);
    struct bytes name;

    (void)reader_le16(r);
    name = reader_take(r, reader_left(r));
    text_printf(text, "BBS(%u,", type);
    text_guess(text, name);
    text_printf(text, ")");
}

static const struct {
    int node;
    void (*describe)(struct text *text, struct reader *r);
} nodes[] = {
    {NODE(1, 1), pci},          {NODE(1, 3), memory},    {NODE(1, 4), vendor_hardware},
    {NODE(2, 1), acpi},         {NODE(3, 2), scsi},      {NODE(3, 5), usb},
    {NODE(3, 11), mac},         {NODE(3, 18), sata},     {NODE(3, 23), nvme},
    {NODE(3, 24), uri},         {NODE(4, 1), partition}, {NODE(4, 3), vendor_media},
    {NODE(4, 2), compact_disc}, {NODE(4, 8), range},     {NODE(4, 4), file},
    {NODE(4, 6), volume_file},  {NODE(4, 7), volume},    {NODE(5, 1), bios_boot},
};

static void describe_node(struct text *text, int type, struct bytes body)
{
    struct reader r = reader_of(body);

    for (size_t i = 0; i < MU_COUNT(nodes); i++) {
        if (nodes[i].node == type) {
            nodes[i].describe(text, &r);
            return;
        }
    }
    text_printf(text, "Path(%d,%d,", type >> 8, type & 0xff);
    text_hex(text, body);
    text_printf(text, ")");
}

void devicepath_describe(struct text *text, struct bytes path)
{
    struct reader r = reader_of(path);
    bool first = true;

    while (reader_left(&r) > 0 && !text->full) {
        int type = reader_be16(&r);
        uint16_t length = reader_le16(&r);
        struct bytes body = reader_take(&r, length >= 4 ? length - 4u : reader_left(&r) + 1);

        if (type == END_ENTIRE)
            return;
        if (r.failed) {
            text_printf(text, "%smalformed", first ? "" : "/");
            return;
        }
        if (!first)
            text_printf(text, "/");
        describe_node(text, type, body);
        first = false;
    }
}
