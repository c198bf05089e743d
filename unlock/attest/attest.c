/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attest/attest.h"

#include <stdio.h>
#include <stdlib.h>

#include <cbor.h>

#include "attest/document.h"
#include "base/cbor.h"
#include "base/time.h"

static void item_free(cbor_item_t **item)
{
    if (*item != NULL)
        cbor_decref(item);
}

/* Takes the value, also on failure. */
static bool add(cbor_item_t *map, const char *name, cbor_item_t *value)
{
    MU_CLEANUP(item_free) cbor_item_t *own_value = value;
    MU_CLEANUP(item_free) cbor_item_t *key = cbor_build_string(name);

    return key != NULL && own_value != NULL &&
           cbor_map_add(map, (struct cbor_pair){.key = key, .value = own_value});
}

static cbor_item_t *bytes_or_null(struct bytes b)
{
    return b.data == NULL ? cbor_new_null() : cbor_build_bytestring(b.data, b.len);
}

enum mu_status nsm_encode_request(const struct nsm_fields *fields, struct buffer *ret,
                                  struct mu_error *err)
{
    MU_CLEANUP(item_free) cbor_item_t *request = cbor_new_definite_map(1);
    MU_CLEANUP(item_free) cbor_item_t *inner = cbor_new_definite_map(3);
    unsigned char *data = NULL;
    size_t size, len;

    if (fields->user_data.len > NSM_FIELD_MAX || fields->nonce.len > NSM_FIELD_MAX ||
        fields->public_key.len > NSM_FIELD_MAX)
        return mu_fail(err, MU_USAGE, "user data, nonce and public key have at most %d bytes each",
                       NSM_FIELD_MAX);
    if (request == NULL || inner == NULL ||
        !add(inner, "user_data", bytes_or_null(fields->user_data)) ||
        !add(inner, "nonce", bytes_or_null(fields->nonce)) ||
        !add(inner, "public_key", bytes_or_null(fields->public_key)) ||
        !add(request, "Attestation", cbor_incref(inner)))
        return mu_oom(err);
    len = cbor_serialize_alloc(request, &data, &size);
    if (len == 0)
        return mu_oom(err);
    *ret = (struct buffer){data, len};
    return MU_OK;
}

/* aws-nitro-enclaves-nsm-api, ErrorCode. */
static const struct nsm_error {
    const char *code;
    enum mu_status status;
} nsm_errors[] = {
    {"InternalError", MU_RETRY},     {"InvalidArgument", MU_INTERNAL},
    {"InvalidIndex", MU_INTERNAL},   {"InvalidResponse", MU_INTERNAL},
    {"ReadOnlyIndex", MU_INTERNAL},  {"InvalidOperation", MU_CONFIG},
    {"BufferTooSmall", MU_INTERNAL}, {"InputTooLarge", MU_INTERNAL},
};

static enum mu_status fail_with_code(struct bytes code, struct mu_error *err)
{
    for (size_t i = 0; i < MU_COUNT(nsm_errors); i++) {
        if (cbor_text_is(code, nsm_errors[i].code))
            return mu_fail(err, nsm_errors[i].status, "NitroTPM answered the request with %s",
                           nsm_errors[i].code);
    }
    return mu_fail(err, MU_REFUSE, "NitroTPM answered the request with an unknown error code");
}

/* The only member of a map, up to its value. */
static struct bytes enter_single(struct reader *r, struct cbor_items *items)
{
    *items = cbor_enter(r, CBOR_MAP);
    if (!cbor_more(r, items))
        r->failed = true;
    return cbor_string(r, CBOR_TEXT);
}

enum mu_status nsm_decode_response(struct bytes response, struct buffer *ret_document,
                                   struct mu_error *err)
{
    struct reader r = reader_of(response);
    struct cbor_items outer, inner;
    struct bytes name = enter_single(&r, &outer);
    struct bytes value;
    bool is_error = cbor_text_is(name, "Error");

    if (!r.failed && !is_error) {
        if (!cbor_text_is(name, "Attestation") ||
            !cbor_text_is(enter_single(&r, &inner), "document"))
            r.failed = true;
        value = cbor_string(&r, CBOR_BYTES);
        if (cbor_more(&r, &inner))
            r.failed = true;
    } else {
        value = cbor_string(&r, CBOR_TEXT);
    }
    if (cbor_more(&r, &outer) || r.failed)
        return mu_fail(err, MU_REFUSE,
                       "NitroTPM's answer is neither an attestation document nor an error code");
    if (is_error)
        return fail_with_code(value, err);
    if (value.len == 0 || value.len > DOCUMENT_MAX_BYTES)
        return mu_fail(err, MU_REFUSE, "NitroTPM's attestation document has %zu bytes, not 1 to %d",
                       value.len, DOCUMENT_MAX_BYTES);
    return buffer_copy(ret_document, value, err);
}

static enum mu_status check_field(struct bytes expected, struct bytes found, const char *name,
                                  struct mu_error *err)
{
    if ((expected.data == NULL) == (found.data == NULL) && bytes_equal(expected, found))
        return MU_OK;
    return mu_fail(err, MU_REFUSE,
                   "NitroTPM's attestation document does not carry the %s that was asked for",
                   name);
}

enum mu_status nsm_attest(struct tpm *tpm, const struct nsm_fields *fields,
                          struct buffer *ret_document, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer request = {0};
    MU_CLEANUP(buffer_free) struct buffer response = {0};
    MU_CLEANUP(buffer_free) struct buffer raw = {0};
    MU_CLEANUP(document_free) struct document document = {0};

    MU_TRY(nsm_encode_request(fields, &request, err));
    MU_TRY(tpm_nsm_request(tpm, buffer_view(&request), &response, err));
    MU_TRY(nsm_decode_response(buffer_view(&response), &raw, err));
    MU_TRY(document_parse(buffer_view(&raw), &document, err));
    MU_TRY(check_field(fields->public_key, document.public_key, "public key", err));
    MU_TRY(check_field(fields->user_data, document.user_data, "user data", err));
    MU_TRY(check_field(fields->nonce, document.nonce, "nonce", err));
    time_catch_up(document.timestamp_ms);
    *ret_document = MU_TAKE(raw);
    return MU_OK;
}
