/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/luks_make.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "volume/blank.h"

#define COPY BLANK_HEADER_COPY
#define BINARY 4096u
#define CHECKSUM_AT 448u
#define DIGEST 32 /* SHA-256 */
#define SALT 32
#define SECTOR 512u
#define STRIPES 4000u
#define STRIPE ((size_t)LUKS_VOLUME_KEY_SIZE)
#define SPLIT (STRIPES * STRIPE)
#define AREA (BLANK_HEADER_END - 2 * COPY)
#define ITERATIONS 1000
#define KEYSLOTS_SIZE (LUKS_MAKE_DATA_OFFSET - 2 * COPY)
_Static_assert(SPLIT % SECTOR == 0 && SPLIT <= AREA, "the split key fits in its area");

#define TO_STRING(x) #x
#define STRING(x) TO_STRING(x)

static const char json_format[] =
    "{\"keyslots\":{\"0\":{\"type\":\"luks2\",\"key_size\":64,\"af\":{\"type\":\"luks1\","
    "\"stripes\":4000,\"hash\":\"sha256\"},\"area\":{\"type\":\"raw\",\"offset\":\"%u\","
    "\"size\":\"%u\",\"encryption\":\"aes-xts-plain64\",\"key_size\":64},\"kdf\":{\"type\":"
    "\"pbkdf2\",\"hash\":\"sha256\",\"iterations\":" STRING(
        ITERATIONS) ",\"salt\":\"%s\"}}},"
                    "\"tokens\":{\"0\":%s},"
                    "\"segments\":{\"0\":{\"type\":\"crypt\",\"offset\":\"%u\",\"size\":"
                    "\"dynamic\",\"iv_tweak\":\"0\",\"encryption\":\"aes-xts-plain64\","
                    "\"sector_size\":%u}},"
                    "\"digests\":{\"0\":{\"type\":\"pbkdf2\",\"keyslots\":[\"0\"],"
                    "\"segments\":[\"0\"],\"hash\":\"sha256\",\"iterations\":" STRING(
                        ITERATIONS) ",\"salt\":\"%s\",\"digest\":\"%s\"}},"
                                    "\"config\":{\"json_size\":\"%u\",\"keyslots_size\":\"%u\"}}";

static enum mu_status fail(struct mu_error *err)
{
    return mu_fail(err, MU_INTERNAL, "LUKS2 header: OpenSSL cannot make it");
}

static enum mu_status stretch(const struct secret *from, const uint8_t salt[static SALT],
                              uint8_t *to, int len, struct mu_error *err)
{
    if (PKCS5_PBKDF2_HMAC((const char *)from->data, (int)from->len, salt, SALT, ITERATIONS,
                          EVP_sha256(), len, to) != 1)
        return fail(err);
    return MU_OK;
}

/* ---- the key slot ---- */

/* Each block of the digest's size becomes the digest of its number and itself. */
static bool diffuse(uint8_t stripe[static STRIPE])
{
    for (size_t i = 0; i < STRIPE / DIGEST; i++) {
        uint8_t message[4 + DIGEST] = {0, 0, 0, (uint8_t)i};

        memcpy(message + 4, stripe + i * DIGEST, DIGEST);
        if (EVP_Digest(message, sizeof(message), stripe + i * DIGEST, NULL, EVP_sha256(), NULL) !=
            1)
            return false;
    }
    return true;
}

/* All stripes but the last are random; the last is what makes the whole merge to the key. */
static enum mu_status split(const struct secret *key, struct secret *to, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret sum = {0};
    uint8_t *last = to->data + SPLIT - STRIPE;

    MU_TRY(secret_alloc(&sum, STRIPE, err));
    if (RAND_bytes(to->data, (int)(SPLIT - STRIPE)) != 1)
        return fail(err);
    for (const uint8_t *stripe = to->data; stripe < last; stripe += STRIPE) {
        for (size_t i = 0; i < STRIPE; i++)
            sum.data[i] ^= stripe[i];
        if (!diffuse(sum.data))
            return fail(err);
    }
    for (size_t i = 0; i < STRIPE; i++)
        last[i] = key->data[i] ^ sum.data[i];
    return MU_OK;
}

/* aes-xts-plain64, by sectors that count from the area's start. */
static enum mu_status encrypt(const struct secret *key, const struct secret *from, uint8_t *to,
                              struct mu_error *err)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool done = ctx != NULL;

    for (size_t sector = 0; done && sector < SPLIT / SECTOR; sector++) {
        uint8_t iv[16] = {(uint8_t)sector, (uint8_t)(sector >> 8)};
        int len = 0;

        done = EVP_EncryptInit_ex(ctx, sector == 0 ? EVP_aes_256_xts() : NULL, NULL, key->data,
                                  iv) == 1 &&
               EVP_EncryptUpdate(ctx, to + sector * SECTOR, &len, from->data + sector * SECTOR,
                                 SECTOR) == 1 &&
               len == (int)SECTOR;
    }
    EVP_CIPHER_CTX_free(ctx);
    return done ? MU_OK : fail(err);
}

static enum mu_status make_keyslot(const struct luks_make *make, const uint8_t salt[static SALT],
                                   uint8_t *area, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret area_key = {0};
    MU_CLEANUP(secret_free) struct secret stripes = {0};

    MU_TRY(secret_alloc(&area_key, LUKS_VOLUME_KEY_SIZE, err));
    MU_TRY(secret_alloc(&stripes, SPLIT, err));
    MU_TRY(stretch(make->key, salt, area_key.data, LUKS_VOLUME_KEY_SIZE, err));
    MU_TRY(split(make->volume_key, &stripes, err));
    return encrypt(&area_key, &stripes, area, err);
}

/* ---- the two copies ---- */

static enum mu_status make_json(const struct luks_make *make, const uint8_t slot_salt[static SALT],
                                char *to, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *slot_salt64 = NULL;
    MU_CLEANUP(string_free) char *salt64 = NULL;
    MU_CLEANUP(string_free) char *digest64 = NULL;
    uint8_t salt[SALT], digest[DIGEST];
    int len;

    if (RAND_bytes(salt, sizeof(salt)) != 1)
        return fail(err);
    MU_TRY(stretch(make->volume_key, salt, digest, sizeof(digest), err));
    MU_TRY(base64_encode((struct bytes){slot_salt, SALT}, &slot_salt64, err));
    MU_TRY(base64_encode((struct bytes){salt, sizeof(salt)}, &salt64, err));
    MU_TRY(base64_encode((struct bytes){digest, sizeof(digest)}, &digest64, err));
    len = snprintf(to, COPY - BINARY, json_format, 2 * COPY, AREA, slot_salt64, make->token,
                   LUKS_MAKE_DATA_OFFSET, make->sector_size, salt64, digest64, COPY - BINARY,
                   KEYSLOTS_SIZE);
    if (len < 0 || (unsigned)len >= COPY - BINARY)
        return mu_fail(err, MU_INTERNAL, "LUKS2 header: a token of %zu bytes is too long",
                       strlen(make->token));
    return MU_OK;
}

/* The JSON is in its place; LUKS2 specification, 2.1. */
static enum mu_status make_binary(const char *uuid, const char *magic, uint64_t offset,
                                  uint8_t *copy, struct mu_error *err)
{
    struct writer w = writer_into(copy, BINARY);
    uint8_t digest[DIGEST];

    writer_bytes(&w, (struct bytes){(const uint8_t *)magic, 6});
    writer_be16(&w, 2);
    writer_be32(&w, 0);
    writer_be32(&w, COPY);
    writer_be32(&w, 0);
    writer_be32(&w, 1); /* sequence number */
    memcpy(copy + 72, "sha256", sizeof("sha256"));
    if (RAND_bytes(copy + 104, 64) != 1)
        return fail(err);
    memcpy(copy + 168, uuid, UUID_TEXT_SIZE);
    w.len = 256;
    writer_be32(&w, 0);
    writer_be32(&w, (uint32_t)offset);
    if (w.failed || EVP_Digest(copy, COPY, digest, NULL, EVP_sha256(), NULL) != 1)
        return fail(err);
    memcpy(copy + CHECKSUM_AT, digest, sizeof(digest));
    return MU_OK;
}

enum mu_status luks_make_header(const struct luks_make *make, struct buffer *ret,
                                struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer header = {0};
    uint8_t salt[SALT];

    MU_TRY(buffer_alloc(&header, BLANK_HEADER_END, err));
    if (RAND_bytes(salt, sizeof(salt)) != 1)
        return fail(err);
    MU_TRY(make_keyslot(make, salt, header.data + (size_t)2 * COPY, err));
    MU_TRY(make_json(make, salt, (char *)header.data + BINARY, err));
    memcpy(header.data + COPY + BINARY, header.data + BINARY, COPY - BINARY);
    MU_TRY(make_binary(make->uuid, "LUKS\xba\xbe", 0, header.data, err));
    MU_TRY(make_binary(make->uuid, "SKUL\xba\xbe", COPY, header.data + COPY, err));
    *ret = header;
    header = (struct buffer){0};
    return MU_OK;
}
