/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/chain_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "appraise/chain.h"

#define WAYS 8
#define SETS_MIN ((size_t)1 << 7)
#define SETS_MAX ((size_t)1 << 18) /* 2,097,152 entries */
#define DIGEST_SIZE 32
#define PATH_MAX_LENGTH 16

struct entry {
    uint8_t digest[DIGEST_SIZE];
    uint32_t from,
        until; /* seconds since 1970; from `until` on OpenSSL calls it expired; 0: free */
};

struct chain_cache {
    pthread_mutex_t lock;
    struct entry *entry; /* sets of WAYS */
    size_t sets, used;
};

enum mu_status chain_cache_new(struct chain_cache **ret, struct mu_error *err)
{
    MU_CLEANUP(chain_cache_free) struct chain_cache *cache = calloc(1, sizeof(*cache));

    if (cache == NULL)
        return mu_oom(err);
    (void)pthread_mutex_init(&cache->lock, NULL);
    cache->sets = SETS_MIN;
    cache->entry = calloc(cache->sets * WAYS, sizeof(*cache->entry));
    if (cache->entry == NULL)
        return mu_oom(err);
    *ret = MU_TAKE(cache);
    return MU_OK;
}

void chain_cache_free(struct chain_cache **cache)
{
    if (*cache == NULL)
        return;
    (void)pthread_mutex_destroy(&(*cache)->lock);
    free((*cache)->entry);
    free(*cache);
    *cache = NULL;
}

/* Over the digests of the certificates, bit for bit. */
static bool digest_of(const STACK_OF(X509) * path, int from, uint8_t ret[static DIGEST_SIZE])
{
    uint8_t digests[PATH_MAX_LENGTH * DIGEST_SIZE];
    size_t count = 0;

    if (sk_X509_num(path) > PATH_MAX_LENGTH)
        return false;
    for (int i = from; i < sk_X509_num(path); i++, count++)
        if (X509_digest(sk_X509_value(path, i), EVP_sha256(), digests + count * DIGEST_SIZE,
                        NULL) != 1)
            return false;
    return count > 0 &&
           EVP_Digest(digests, count * DIGEST_SIZE, ret, NULL, EVP_sha256(), NULL) == 1;
}

/* When all of them are valid; what lies outside of 1970 to 2106 is cut off. */
static bool validity_of(const STACK_OF(X509) * path, int first, struct entry *ret)
{
    struct mu_error ignored = {0};
    int64_t from = 0, until = UINT32_MAX;

    for (int i = first; i < sk_X509_num(path); i++) {
        int64_t begins, ends;

        if (certificate_validity(sk_X509_value(path, i), &begins, &ends, &ignored) != MU_OK)
            return false;
        from = begins > from ? begins : from;
        until = ends < until ? ends : until;
    }
    if (from > until)
        return false;
    ret->from = (uint32_t)from;
    ret->until = (uint32_t)until;
    return until > 0;
}

static bool is_plain(X509 *certificate)
{
    static const int plain[] = {NID_basic_constraints, NID_key_usage, NID_subject_key_identifier,
                                NID_authority_key_identifier, NID_crl_distribution_points};

    for (int i = 0; i < X509_get_ext_count(certificate); i++) {
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(X509_get_ext(certificate, i)));
        bool found = false;

        for (size_t n = 0; n < MU_COUNT(plain); n++)
            found = found || nid == plain[n];
        if (!found)
            return false;
    }
    return true;
}

/* Between the leaf and the CA at i there are i - 1 others. */
bool chain_cache_may_split(const STACK_OF(X509) * path)
{
    for (int i = 0; i < sk_X509_num(path); i++) {
        X509 *certificate = sk_X509_value(path, i);
        long allowed = X509_get_pathlen(certificate);

        if (!is_plain(certificate) || (i > 0 && allowed >= 0 && i - 1 > allowed))
            return false;
    }
    return true;
}

static struct entry *set_of(struct entry *entry, size_t sets, const uint8_t *digest)
{
    size_t number;

    memcpy(&number, digest, sizeof(number));
    return entry + number % sets * WAYS;
}

static const struct entry *find(const struct chain_cache *cache, const uint8_t *digest)
{
    const struct entry *set = set_of(cache->entry, cache->sets, digest);

    for (size_t i = 0; i < WAYS; i++)
        if (set[i].until != 0 && memcmp(set[i].digest, digest, DIGEST_SIZE) == 0)
            return &set[i];
    return NULL;
}

bool chain_cache_knows(struct chain_cache *cache, const STACK_OF(X509) * path, int from, int64_t at)
{
    uint8_t digest[DIGEST_SIZE];
    const struct entry *entry;
    bool known;

    if (!digest_of(path, from, digest))
        return false;
    (void)pthread_mutex_lock(&cache->lock);
    entry = find(cache, digest);
    known = entry != NULL && at >= entry->from && at < entry->until;
    (void)pthread_mutex_unlock(&cache->lock);
    return known;
}

/* Into a free place of its set, or that of whoever ends first. True if it was free. */
static bool put(struct entry *entry, size_t sets, const struct entry *fresh)
{
    struct entry *set = set_of(entry, sets, fresh->digest), *to = set;
    bool was_free;

    for (struct entry *e = set; e < set + WAYS; e++)
        to = e->until < to->until ? e : to;
    was_free = to->until == 0;
    *to = *fresh;
    return was_free;
}

static size_t count_valid(const struct chain_cache *cache, int64_t at)
{
    size_t valid = 0;

    for (size_t i = 0; i < cache->sets * WAYS; i++)
        valid += cache->entry[i].until != 0 && cache->entry[i].until > at;
    return valid;
}

/* When it is half full: without those that have ended, and larger if they were few. */
static void make_room(struct chain_cache *cache, int64_t at)
{
    size_t count = cache->sets * WAYS, sets = cache->sets, used = 0, room;
    struct entry *larger;

    if (cache->used < count / 2 || sets == SETS_MAX)
        return;
    if (count_valid(cache, at) > count / 4)
        sets *= 2;
    room = sets * WAYS;
    larger = room > 0 ? calloc(room, sizeof(*larger)) : NULL;
    if (larger == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        if (cache->entry[i].until != 0 && cache->entry[i].until > at)
            used += put(larger, sets, &cache->entry[i]);
    free(cache->entry);
    cache->entry = larger;
    cache->sets = sets;
    cache->used = used;
}

void chain_cache_add(struct chain_cache *cache, const STACK_OF(X509) * path, int from, int64_t at)
{
    struct entry fresh;

    if (!digest_of(path, from, fresh.digest) || !validity_of(path, from, &fresh))
        return;
    (void)pthread_mutex_lock(&cache->lock);
    if (find(cache, fresh.digest) == NULL) {
        make_room(cache, at);
        cache->used += put(cache->entry, cache->sets, &fresh);
    }
    (void)pthread_mutex_unlock(&cache->lock);
}
