/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/dsse.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#define KEYID_BYTES 32 /* SHA-256 of the SubjectPublicKeyInfo */
#define KEYID_MAX 512
#define SIGNATURE_MAX 1024

enum mu_status dsse_pae(const char *type, struct bytes payload, struct buffer *ret,
                        struct mu_error *err)
{
    MU_CLEANUP(string_free) char *head = NULL;

    MU_TRY(string_print(&head, err, "DSSEv1 %zu %s %zu ", strlen(type), type, payload.len));
    MU_TRY(buffer_alloc(ret, strlen(head) + payload.len, err));
    memcpy(ret->data, head, strlen(head));
    if (payload.len > 0)
        memcpy(ret->data + strlen(head), payload.data, payload.len);
    return MU_OK;
}

static enum mu_status keyid_of(EVP_PKEY *key, char ret[static 2 * KEYID_BYTES + 1],
                               struct mu_error *err)
{
    uint8_t digest[KEYID_BYTES], *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    bool ok = len > 0 && EVP_Digest(der, (size_t)len, digest, NULL, EVP_sha256(), NULL) == 1;

    OPENSSL_free(der);
    if (!ok)
        return mu_fail(err, MU_INTERNAL, "the key has no digest");
    hex_encode((struct bytes){digest, sizeof(digest)}, ret);
    return MU_OK;
}

enum mu_status dsse_wrap(const char *type, struct bytes payload, struct bytes signature,
                         EVP_PKEY *key, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *envelope = json_object_new_object();
    MU_CLEANUP(string_free) char *payload64 = NULL;
    MU_CLEANUP(string_free) char *signature64 = NULL;
    json_object *list = json_object_new_array();
    json_object *item = json_object_new_object();
    char keyid[2 * KEYID_BYTES + 1];
    bool listed = json_append(list, item);

    if (!json_add(envelope, "signatures", list) || !listed)
        return mu_oom(err);
    MU_TRY(keyid_of(key, keyid, err));
    MU_TRY(base64_encode(payload, &payload64, err));
    MU_TRY(base64_encode(signature, &signature64, err));
    if (!json_add_text(envelope, "payloadType", type) ||
        !json_add_text(envelope, "payload", payload64) || !json_add_text(item, "keyid", keyid) ||
        !json_add_text(item, "sig", signature64))
        return mu_oom(err);
    *ret = MU_TAKE(envelope);
    return MU_OK;
}

static enum mu_status read_signature(json_object *envelope, struct buffer *ret,
                                     struct mu_error *err)
{
    static const char *const members[] = {"keyid", "sig", NULL};
    json_object *list = NULL, *item;
    const char *unused;

    MU_TRY(json_member(envelope, "signatures", json_type_array, MU_CONFIG, &list, err));
    if (json_object_array_length(list) != 1)
        return mu_fail(err, MU_CONFIG, "%zu signatures; one is wanted, the builder's",
                       json_object_array_length(list));
    item = json_object_array_get_idx(list, 0);
    if (!json_object_is_type(item, json_type_object))
        return mu_fail(err, MU_CONFIG, "the signature is not an object");
    MU_TRY(json_only(item, "the signature", members, MU_CONFIG, err));
    if (json_object_object_get_ex(item, "keyid", NULL))
        MU_TRY(json_string(item, "keyid", KEYID_MAX, MU_CONFIG, &unused, err));
    return json_base64(item, "sig", SIGNATURE_MAX, MU_CONFIG, ret, err);
}

static enum mu_status open_object(json_object *envelope, const char *type,
                                  const struct public_keys *keys, struct buffer *ret,
                                  struct mu_error *err)
{
    static const char *const members[] = {"payloadType", "payload", "signatures", NULL};
    MU_CLEANUP(buffer_free) struct buffer payload = {0};
    MU_CLEANUP(buffer_free) struct buffer signature = {0};
    MU_CLEANUP(buffer_free) struct buffer pae = {0};
    const char *found;

    MU_TRY(json_only(envelope, "the envelope", members, MU_CONFIG, err));
    MU_TRY(json_string(envelope, "payloadType", 128, MU_CONFIG, &found, err));
    if (strcmp(found, type) != 0)
        return mu_fail(err, MU_CONFIG, "payloadType is '%.64s', not '%s'", found, type);
    MU_TRY(read_signature(envelope, &signature, err));
    MU_TRY(json_base64(envelope, "payload", DSSE_MAX_BYTES, MU_CONFIG, &payload, err));
    MU_TRY(dsse_pae(type, buffer_view(&payload), &pae, err));
    if (signature_verify_any(keys, NULL, buffer_view(&pae), buffer_view(&signature), err) != MU_OK)
        return mu_context(err, "no trusted builder signed this");
    *ret = MU_TAKE(payload);
    return MU_OK;
}

enum mu_status dsse_open(struct bytes envelope, const char *what, const char *type,
                         const struct public_keys *keys, struct buffer *ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;

    MU_TRY(json_parse(envelope, what, MU_CONFIG, &object, err));
    if (open_object(object, type, keys, ret, err) != MU_OK)
        return mu_context(err, "%s", what);
    return MU_OK;
}

enum mu_status dsse_payload(struct bytes envelope, struct buffer *ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;

    MU_TRY(json_parse(envelope, "the envelope", MU_CONFIG, &object, err));
    return json_base64(object, "payload", DSSE_MAX_BYTES, MU_CONFIG, ret, err);
}
