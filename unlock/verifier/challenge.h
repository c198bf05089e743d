/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_CHALLENGE_H
#define MU_VERIFIER_CHALLENGE_H

#include "base/secret.h"

/* Nonces that need not be remembered: any verifier with one of the keys recognises them. version (1
 * byte, 1), expiry (8, big-endian, milliseconds since 1970), random (16), HMAC-SHA-256 over all
 * that (32). */
#define CHALLENGE_SIZE 57
#define CHALLENGE_KEY_SIZE 32
#define CHALLENGE_KEYS_MAX 8

/* The first makes nonces, all recognise them. */
struct challenge_keys {
    struct secret key[CHALLENGE_KEYS_MAX];
    size_t count;
};

void challenge_keys_free(struct challenge_keys *keys);
/* A file of exactly CHALLENGE_KEY_SIZE bytes. MU_CONFIG. */
enum mu_status challenge_keys_add(struct challenge_keys *keys, const char *path,
                                  struct mu_error *err) MU_MUST_CHECK;

enum mu_status challenge_make(const struct challenge_keys *keys, uint64_t expires_ms,
                              uint8_t ret[static CHALLENGE_SIZE],
                              struct mu_error *err) MU_MUST_CHECK;
/* MU_REFUSE: not one of ours, or expired at `now_ms`. */
enum mu_status challenge_check(const struct challenge_keys *keys, uint64_t now_ms,
                               struct bytes nonce, struct mu_error *err) MU_MUST_CHECK;

#endif
