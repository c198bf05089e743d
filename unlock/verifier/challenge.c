/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/challenge.h"

#include <inttypes.h>
#include <string.h>

#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/file.h"

#define VERSION 1
#define RANDOM_SIZE 16
#define MAC_SIZE 32
#define SIGNED_SIZE (CHALLENGE_SIZE - MAC_SIZE)

void challenge_keys_free(struct challenge_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        secret_free(&keys->key[i]);
    keys->count = 0;
}

enum mu_status challenge_keys_add(struct challenge_keys *keys, const char *path,
                                  struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer file = {0};
    struct secret *key = &keys->key[keys->count];

    if (keys->count == CHALLENGE_KEYS_MAX)
        return mu_fail(err, MU_CONFIG, "more than %d challenge keys", CHALLENGE_KEYS_MAX);
    MU_TRY(file_read(path, CHALLENGE_KEY_SIZE, &file, err));
    if (file.len != CHALLENGE_KEY_SIZE)
        return mu_fail(err, MU_CONFIG, "%s: a challenge key has %d random bytes, this has %zu",
                       path, CHALLENGE_KEY_SIZE, file.len);
    MU_TRY(secret_alloc(key, file.len, err));
    memcpy(key->data, file.data, file.len);
    explicit_bzero(file.data, file.len);
    keys->count++;
    return MU_OK;
}

static bool authenticate(const struct secret *key, const uint8_t *nonce, uint8_t *ret)
{
    unsigned len = MAC_SIZE;

    return HMAC(EVP_sha256(), key->data, (int)key->len, nonce, SIGNED_SIZE, ret, &len) != NULL &&
           len == MAC_SIZE;
}

enum mu_status challenge_make(const struct challenge_keys *keys, uint64_t expires_ms,
                              uint8_t ret[static CHALLENGE_SIZE], struct mu_error *err)
{
    struct writer w = writer_into(ret, CHALLENGE_SIZE);
    uint8_t random[RANDOM_SIZE];

    if (keys->count == 0)
        return mu_fail(err, MU_CONFIG, "there is no challenge key");
    if (RAND_bytes(random, sizeof(random)) != 1)
        return mu_fail(err, MU_INTERNAL, "no random numbers");
    writer_u8(&w, VERSION);
    writer_be32(&w, (uint32_t)(expires_ms >> 32));
    writer_be32(&w, (uint32_t)expires_ms);
    writer_bytes(&w, (struct bytes){random, sizeof(random)});
    if (w.failed || !authenticate(&keys->key[0], ret, ret + SIGNED_SIZE))
        return mu_fail(err, MU_INTERNAL, "no challenge can be made");
    return MU_OK;
}

static bool is_ours(const struct challenge_keys *keys, struct bytes nonce)
{
    struct bytes mac = {nonce.data + SIGNED_SIZE, MAC_SIZE};
    uint8_t expected[MAC_SIZE];

    for (size_t i = 0; i < keys->count; i++)
        if (authenticate(&keys->key[i], nonce.data, expected) &&
            bytes_equal(mac, (struct bytes){expected, MAC_SIZE}))
            return true;
    return false;
}

enum mu_status challenge_check(const struct challenge_keys *keys, uint64_t now_ms,
                               struct bytes nonce, struct mu_error *err)
{
    struct reader r = reader_of(nonce);
    uint64_t expires_ms;

    if (nonce.data == NULL || nonce.len == 0)
        return mu_fail(err, MU_REFUSE, "the document carries no nonce: ask for a challenge first");
    if (nonce.len != CHALLENGE_SIZE || reader_u8(&r) != VERSION || !is_ours(keys, nonce))
        return mu_fail(err, MU_REFUSE, "the document carries a nonce that is not of this verifier");
    expires_ms = reader_be64(&r);
    if (now_ms > expires_ms)
        return mu_fail(err, MU_REFUSE,
                       "the nonce expired %" PRIu64 ".%03u s ago: ask for another challenge",
                       (now_ms - expires_ms) / 1000, (unsigned)((now_ms - expires_ms) % 1000));
    return MU_OK;
}
