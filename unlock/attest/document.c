/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attest/document.h"

#include <stddef.h>
#include <string.h>

#include "base/cbor.h"
#include "base/text.h"

#define COSE_SIGN1_TAG 0xd2 /* tag 18 (RFC 9052, 4.2), one byte: libcbor 0.8 does not know it */
#define SIGNATURE_SIZE 96   /* ES384: r || s */
#define PCR_SIZE 48
#define FIELD_MAX 1024
#define NAMES_MAX 32 /* unknown members */

/* RFC 9052, 3: {1: -35}, ES384 and nothing else. */
static const uint8_t protected_es384[] = {0xa1, 0x01, 0x38, 0x22};

typedef enum mu_status member_reader(struct reader *r, struct document *ret, struct mu_error *err);

static enum mu_status bad(struct mu_error *err, const char *field, const char *rule)
{
    return mu_fail(err, MU_REFUSE, "attestation document: %s %s", field, rule);
}

static enum mu_status bytes_within(struct bytes b, size_t min, size_t max, const char *field,
                                   struct mu_error *err)
{
    if (b.len >= min && b.len <= max)
        return MU_OK;
    return mu_fail(err, MU_REFUSE, "attestation document: %s has %zu bytes, not %zu to %zu", field,
                   b.len, min, max);
}

static enum mu_status read_module_id(struct reader *r, struct document *ret, struct mu_error *err)
{
    struct bytes text = cbor_string(r, CBOR_TEXT);

    if (r->failed)
        return bad(err, "module_id", "is not a text string");
    MU_TRY(bytes_within(text, 1, sizeof(ret->module_id) - 1, "module_id", err));
    if (!text_is_word(text))
        return bad(err, "module_id", "is not printable ASCII");
    memcpy(ret->module_id, text.data, text.len);
    return MU_OK;
}

static enum mu_status read_digest(struct reader *r, struct document *ret, struct mu_error *err)
{
    (void)ret;
    if (!cbor_text_is(cbor_string(r, CBOR_TEXT), "SHA384"))
        return bad(err, "digest", "is not \"SHA384\"");
    return MU_OK;
}

static enum mu_status read_timestamp(struct reader *r, struct document *ret, struct mu_error *err)
{
    ret->timestamp_ms = cbor_unsigned(r);
    if (ret->timestamp_ms == 0)
        return bad(err, "timestamp", "is not a positive integer");
    return MU_OK;
}

static enum mu_status read_pcrs(struct reader *r, struct document *ret, struct mu_error *err)
{
    for (struct cbor_items items = cbor_enter(r, CBOR_MAP); cbor_more(r, &items);) {
        uint64_t index = cbor_unsigned(r);
        struct bytes value = cbor_string(r, CBOR_BYTES);

        if (r->failed)
            break;
        if (index >= DOCUMENT_PCRS_MAX || (ret->pcr_mask & (UINT32_C(1) << index)) != 0)
            return bad(err, "nitrotpm_pcrs", "has a PCR twice or one above 31");
        if (value.len != PCR_SIZE)
            return bad(err, "nitrotpm_pcrs", "has a PCR that is not 48 bytes long");
        ret->pcr_mask |= UINT32_C(1) << index;
        ret->pcr[index] = value;
    }
    if (r->failed || ret->pcr_mask == 0)
        return bad(err, "nitrotpm_pcrs", "is not a map of PCRs");
    return MU_OK;
}

static enum mu_status read_enclave_pcrs(struct reader *r, struct document *ret,
                                        struct mu_error *err)
{
    (void)r;
    (void)ret;
    return bad(err, "pcrs", "is present: this is the document of an enclave, not of a NitroTPM");
}

static enum mu_status read_certificate(struct reader *r, struct document *ret, struct mu_error *err)
{
    ret->certificate = cbor_string(r, CBOR_BYTES);
    if (r->failed)
        return bad(err, "certificate", "is not a byte string");
    return bytes_within(ret->certificate, 1, FIELD_MAX, "certificate", err);
}

static enum mu_status read_cabundle(struct reader *r, struct document *ret, struct mu_error *err)
{
    for (struct cbor_items items = cbor_enter(r, CBOR_ARRAY); cbor_more(r, &items);) {
        struct bytes entry = cbor_string(r, CBOR_BYTES);

        if (r->failed)
            break;
        if (ret->cabundle_count == DOCUMENT_CABUNDLE_MAX)
            return bad(err, "cabundle", "has more than 16 entries");
        MU_TRY(bytes_within(entry, 1, FIELD_MAX, "cabundle entry", err));
        ret->cabundle[ret->cabundle_count++] = entry;
    }
    if (r->failed || ret->cabundle_count == 0)
        return bad(err, "cabundle", "is not an array of byte strings");
    return MU_OK;
}

static enum mu_status read_optional(struct reader *r, struct bytes *ret, size_t min,
                                    const char *field, struct mu_error *err)
{
    *ret = cbor_bytes_or_null(r);
    if (r->failed)
        return bad(err, field, "is neither a byte string nor null");
    return ret->data == NULL ? MU_OK : bytes_within(*ret, min, FIELD_MAX, field, err);
}

static enum mu_status read_public_key(struct reader *r, struct document *ret, struct mu_error *err)
{
    return read_optional(r, &ret->public_key, 1, "public_key", err);
}

static enum mu_status read_user_data(struct reader *r, struct document *ret, struct mu_error *err)
{
    return read_optional(r, &ret->user_data, 0, "user_data", err);
}

static enum mu_status read_nonce(struct reader *r, struct document *ret, struct mu_error *err)
{
    return read_optional(r, &ret->nonce, 0, "nonce", err);
}

/* EC2 User Guide, "Content of the NitroTPM Attestation Document". */
static const struct member {
    const char *name;
    bool required;
    member_reader *read;
} members[] = {
    {"module_id", true, read_module_id},
    {"digest", true, read_digest},
    {"timestamp", true, read_timestamp},
    {"nitrotpm_pcrs", true, read_pcrs},
    {"certificate", true, read_certificate},
    {"cabundle", true, read_cabundle},
    {"public_key", false, read_public_key},
    {"user_data", false, read_user_data},
    {"nonce", false, read_nonce},
    {"pcrs", false, read_enclave_pcrs},
};

static size_t member_index(struct bytes name)
{
    size_t i = 0;

    while (i < MU_COUNT(members) && !cbor_text_is(name, members[i].name))
        i++;
    return i;
}

/* RFC 8949, 5.6: no duplicates, also of names that mean nothing here: another reader may use the
 * other member. */
static enum mu_status remember(struct bytes *names, size_t *count, struct bytes name,
                               struct mu_error *err)
{
    for (size_t i = 0; i < *count; i++)
        if (bytes_equal(names[i], name))
            return bad(err, "payload", "has a member twice");
    if (*count == NAMES_MAX)
        return bad(err, "payload", "has more members than a document has");
    names[(*count)++] = name;
    return MU_OK;
}

/* Members that a later version of the document may add are passed over: the signature covers them.
 */
static enum mu_status parse_payload(struct document *ret, struct mu_error *err)
{
    struct reader r = reader_of(ret->payload);
    bool seen[MU_COUNT(members)] = {false};
    struct bytes names[NAMES_MAX];
    size_t count = 0;

    for (struct cbor_items items = cbor_enter(&r, CBOR_MAP); cbor_more(&r, &items);) {
        struct bytes name = cbor_string(&r, CBOR_TEXT);
        size_t i = member_index(name);

        if (i == MU_COUNT(members)) {
            MU_TRY(remember(names, &count, name, err));
            cbor_skip(&r);
            continue;
        }
        if (seen[i])
            return bad(err, members[i].name, "occurs twice");
        seen[i] = true;
        MU_TRY(members[i].read(&r, ret, err));
    }
    if (r.failed)
        return bad(err, "payload", "is not a well-formed CBOR map");
    if (reader_left(&r) != 0)
        return bad(err, "payload", "has bytes after its map");
    for (size_t i = 0; i < MU_COUNT(members); i++) {
        if (members[i].required && !seen[i])
            return bad(err, members[i].name, "is missing");
    }
    return MU_OK;
}

static enum mu_status parse_sign1(struct document *ret, struct mu_error *err)
{
    struct reader r = reader_of(buffer_view(&ret->raw));
    struct cbor_items items, unprotected;

    if (reader_left(&r) > 0 && *r.pos == COSE_SIGN1_TAG)
        (void)reader_take(&r, 1);
    items = cbor_enter(&r, CBOR_ARRAY);
    if (r.failed || (!items.indefinite && items.left != 4))
        return bad(err, "COSE_Sign1", "is not an array of four");
    ret->protected_header = cbor_string(&r, CBOR_BYTES);
    unprotected = cbor_enter(&r, CBOR_MAP);
    if (cbor_more(&r, &unprotected))
        return bad(err, "unprotected header", "is not empty");
    ret->payload = cbor_string(&r, CBOR_BYTES);
    ret->signature = cbor_string(&r, CBOR_BYTES);
    items.left = 0;
    if (cbor_more(&r, &items) || r.failed)
        return bad(err, "COSE_Sign1", "is not two headers, a payload and a signature");
    if (reader_left(&r) != 0)
        return bad(err, "COSE_Sign1", "has bytes after it");
    if (!bytes_equal(ret->protected_header,
                     (struct bytes){protected_es384, sizeof(protected_es384)}))
        return bad(err, "protected header", "does not say ES384 alone");
    return bytes_within(ret->signature, SIGNATURE_SIZE, SIGNATURE_SIZE, "signature", err);
}

enum mu_status document_parse(struct bytes raw, struct document *ret, struct mu_error *err)
{
    MU_CLEANUP(document_free) struct document document = {0};

    MU_TRY(bytes_within(raw, 1, DOCUMENT_MAX_BYTES, "file", err));
    MU_TRY(buffer_copy(&document.raw, raw, err));
    MU_TRY(parse_sign1(&document, err));
    MU_TRY(parse_payload(&document, err));
    *ret = document;
    document.raw = (struct buffer){0};
    return MU_OK;
}

void document_free(struct document *document)
{
    buffer_free(&document->raw);
    *document = (struct document){0};
}
