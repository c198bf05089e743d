/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure/signature_list.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#define LIST_HEADER_BYTES 28

/* EFI_CERT_X509_GUID */
static const uint8_t x509_guid[EFI_GUID_BYTES] =
    EFI_GUID(0xa5c059a1, 0x94e4, 0x4aa7, 0x87b5, 0xab155c2bf072);

struct signature_lists signature_list_of(struct bytes lists)
{
    return (struct signature_lists){.lists = reader_of(lists)};
}

/* UEFI 2.10, 32.4.1, EFI_SIGNATURE_LIST */
static bool next_list(struct signature_lists *at)
{
    uint32_t list_size, header_size;

    at->type = reader_take(&at->lists, EFI_GUID_BYTES);
    list_size = reader_le32(&at->lists);
    header_size = reader_le32(&at->lists);
    at->size = reader_le32(&at->lists);
    at->malformed = at->lists.failed || list_size < LIST_HEADER_BYTES || at->size < EFI_GUID_BYTES;
    if (at->malformed)
        return false;
    at->list = reader_of(reader_take(&at->lists, list_size - LIST_HEADER_BYTES));
    (void)reader_take(&at->list, header_size);
    at->malformed = at->lists.failed || at->list.failed || reader_left(&at->list) % at->size != 0;
    return !at->malformed;
}

bool signature_list_next(struct signature_lists *at, struct signature *ret)
{
    while (reader_left(&at->list) == 0)
        if (reader_left(&at->lists) == 0 || !next_list(at))
            return false;
    ret->type = at->type;
    ret->entry = reader_take(&at->list, at->size);
    ret->data = (struct bytes){ret->entry.data + EFI_GUID_BYTES, ret->entry.len - EFI_GUID_BYTES};
    return true;
}

bool signature_is_certificate(const struct signature *signature)
{
    return bytes_equal(signature->type, (struct bytes){x509_guid, EFI_GUID_BYTES});
}

bool signature_lists_valid(struct bytes lists)
{
    struct signature_lists at = signature_list_of(lists);
    struct signature signature;

    while (signature_list_next(&at, &signature))
        ;
    return !at.malformed;
}

void signature_list_write(struct writer *to, struct bytes certificate,
                          const uint8_t owner[static EFI_GUID_BYTES])
{
    const size_t size = EFI_GUID_BYTES + certificate.len;

    writer_bytes(to, (struct bytes){x509_guid, EFI_GUID_BYTES});
    writer_le(to, LIST_HEADER_BYTES + size, 4);
    writer_le(to, 0, 4); /* SignatureHeaderSize */
    writer_le(to, size, 4);
    writer_bytes(to, (struct bytes){owner, EFI_GUID_BYTES});
    writer_bytes(to, certificate);
}

bool signature_list_describe(struct text *text, struct bytes lists)
{
    struct signature_lists at = signature_list_of(lists);
    struct signature signature;
    size_t certificates = 0, others = 0;

    while (signature_list_next(&at, &signature)) {
        const bool certificate = signature_is_certificate(&signature);

        certificates += certificate;
        others += !certificate;
    }
    if (at.malformed || certificates + others == 0)
        return false;
    if (certificates > 0)
        text_printf(text, "%zu certificate%s%s", certificates, certificates == 1 ? "" : "s",
                    others > 0 ? ", " : "");
    if (others > 0)
        text_printf(text, "%zu digest%s", others, others == 1 ? "" : "s");
    return true;
}

static bool describe_certificate(struct text *text, struct bytes der)
{
    const uint8_t *pos = der.data;
    X509 *certificate = d2i_X509(NULL, &pos, (long)der.len);
    char subject[256];
    bool known = certificate != NULL && X509_NAME_oneline(X509_get_subject_name(certificate),
                                                          subject, sizeof(subject)) != NULL;

    if (known) {
        text_printf(text, "certificate ");
        text_utf8(text, text_view(subject));
    }
    X509_free(certificate);
    ERR_clear_error();
    return known;
}

bool signature_list_describe_entry(struct text *text, struct bytes entry)
{
    if (entry.len > EFI_GUID_BYTES &&
        describe_certificate(
            text, (struct bytes){entry.data + EFI_GUID_BYTES, entry.len - EFI_GUID_BYTES}))
        return true;
    return entry.len > 0 && describe_certificate(text, entry);
}
