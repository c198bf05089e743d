/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/chain_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "appraise/chain.h"

#define SETS                                                                                       \
    4096 /* with four ways: CA certificates of 16,384 instances, each of which has its own */
#define WAYS 4
#define DIGEST_SIZE 32
#define PATH_MAX_LENGTH 16

struct entry {
    uint8_t digest[DIGEST_SIZE];
    int64_t from, until; /* both 0: free */
};

struct chain_cache {
    pthread_mutex_t lock;
    struct entry entry[SETS][WAYS];
};

enum mu_status chain_cache_new(struct chain_cache **ret, struct mu_error *err)
{
    struct chain_cache *cache = calloc(1, sizeof(*cache));

    if (cache == NULL || pthread_mutex_init(&cache->lock, NULL) != 0) {
        free(cache);
        return mu_oom(err);
    }
    *ret = cache;
    return MU_OK;
}

void chain_cache_free(struct chain_cache **cache)
{
    free(*cache);
    *cache = NULL;
}

/* Over the digests of the certificates, bit for bit. */
static bool digest_of(const STACK_OF(X509) * path, uint8_t ret[static DIGEST_SIZE])
{
    uint8_t digests[PATH_MAX_LENGTH * DIGEST_SIZE];
    size_t count = 0;

    if (sk_X509_num(path) > PATH_MAX_LENGTH)
        return false;
    for (int i = 1; i < sk_X509_num(path); i++, count++)
        if (X509_digest(sk_X509_value(path, i), EVP_sha256(), digests + count * DIGEST_SIZE,
                        NULL) != 1)
            return false;
    return count > 0 &&
           EVP_Digest(digests, count * DIGEST_SIZE, ret, NULL, EVP_sha256(), NULL) == 1;
}

/* When all of them are valid. */
static bool validity_of(const STACK_OF(X509) * path, int64_t *ret_from, int64_t *ret_until)
{
    struct mu_error ignored = {0};
    int64_t from = INT64_MIN, until = INT64_MAX;

    for (int i = 1; i < sk_X509_num(path); i++) {
        int64_t begins, ends;

        if (certificate_validity(sk_X509_value(path, i), &begins, &ends, &ignored) != MU_OK)
            return false;
        from = begins > from ? begins : from;
        until = ends < until ? ends : until;
    }
    *ret_from = from;
    *ret_until = until;
    return true;
}

static bool constrains(const STACK_OF(X509) * path)
{
    static const int nids[] = {NID_name_constraints, NID_policy_constraints,
                               NID_inhibit_any_policy};

    for (int i = 1; i < sk_X509_num(path); i++)
        for (size_t n = 0; n < MU_COUNT(nids); n++)
            if (X509_get_ext_by_NID(sk_X509_value(path, i), nids[n], -1) >= 0)
                return true;
    return false;
}

static struct entry *set_of(struct chain_cache *cache, const uint8_t *digest)
{
    return cache->entry[((size_t)digest[0] << 8 | digest[1]) % SETS];
}

bool chain_cache_knows(struct chain_cache *cache, const STACK_OF(X509) * path, int64_t at)
{
    uint8_t digest[DIGEST_SIZE];
    const struct entry *set;
    bool known = false;

    if (!digest_of(path, digest))
        return false;
    (void)pthread_mutex_lock(&cache->lock);
    set = set_of(cache, digest);
    for (size_t i = 0; i < WAYS; i++)
        known = known || (set[i].until != 0 && at >= set[i].from && at <= set[i].until &&
                          memcmp(set[i].digest, digest, DIGEST_SIZE) == 0);
    (void)pthread_mutex_unlock(&cache->lock);
    return known;
}

void chain_cache_add(struct chain_cache *cache, const STACK_OF(X509) * path)
{
    struct entry fresh, *oldest;

    if (constrains(path) || !digest_of(path, fresh.digest) ||
        !validity_of(path, &fresh.from, &fresh.until))
        return;
    (void)pthread_mutex_lock(&cache->lock);
    oldest = set_of(cache, fresh.digest);
    for (struct entry *set = oldest, *e = set; e < set + WAYS; e++)
        oldest = e->until < oldest->until ? e : oldest;
    *oldest = fresh;
    (void)pthread_mutex_unlock(&cache->lock);
}
