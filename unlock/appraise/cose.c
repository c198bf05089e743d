/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/cose.h"

#include <string.h>

#include <cbor.h>

#include "appraise/ecdsa.h"

#define HEAD_MAX ((size_t)9)

static void write_bytestring(struct writer *w, struct bytes content)
{
    uint8_t head[HEAD_MAX];

    writer_bytes(w,
                 (struct bytes){head, cbor_encode_bytestring_start(content.len, head, HEAD_MAX)});
    writer_bytes(w, content);
}

/* RFC 9052, 4.4: ["Signature1", body_protected, external_aad, payload] */
static enum mu_status to_be_signed(struct bytes protected_header, struct bytes payload,
                                   struct buffer *ret, struct mu_error *err)
{
    static const uint8_t context[] = {0x84, 0x6a, 'S', 'i', 'g', 'n', 'a', 't', 'u', 'r', 'e', '1'};
    struct writer w;

    MU_TRY(buffer_alloc(ret, sizeof(context) + 3 * HEAD_MAX + protected_header.len + payload.len,
                        err));
    w = writer_into(ret->data, ret->len);
    writer_bytes(&w, (struct bytes){context, sizeof(context)});
    write_bytestring(&w, protected_header);
    write_bytestring(&w, (struct bytes){0});
    write_bytestring(&w, payload);
    ret->len = w.len;
    return w.failed ? mu_fail(err, MU_INTERNAL, "Sig_structure does not fit") : MU_OK;
}

static bool is_p384(EVP_PKEY *key)
{
    char group[32];
    size_t len;

    return EVP_PKEY_is_a(key, "EC") &&
           EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1 &&
           strcmp(group, "secp384r1") == 0;
}

enum mu_status cose_verify_es384(EVP_PKEY *key, struct bytes protected_header, struct bytes payload,
                                 struct bytes signature, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer message = {0};

    if (!is_p384(key))
        return mu_fail(err, MU_REFUSE, "the signing key is not on P-384");
    if (signature.len != COSE_ES384_SIZE)
        return mu_fail(err, MU_REFUSE, "the signature has %zu bytes, not %d", signature.len,
                       COSE_ES384_SIZE);
    MU_TRY(to_be_signed(protected_header, payload, &message, err));
    return ecdsa_verify(key, EVP_sha384(), buffer_view(&message), signature, err);
}
