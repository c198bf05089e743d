/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tpm/hash.h"

#include <strings.h>

#include "base/openssl.h"
#include "tpm/tpm.h"

static const struct {
    enum hash_alg alg;
    size_t size;
    const char *name;
    const EVP_MD *(*md)(void);
} hashes[] = {
    {HASH_SHA1, 20, "sha1", EVP_sha1},
    {HASH_SHA256, 32, "sha256", EVP_sha256},
    {HASH_SHA384, 48, "sha384", EVP_sha384},
    {HASH_SHA512, 64, "sha512", EVP_sha512},
};

static size_t find(enum hash_alg alg)
{
    size_t i = 0;

    while (i < MU_COUNT(hashes) && hashes[i].alg != alg)
        i++;
    return i;
}

size_t hash_size(enum hash_alg alg)
{
    size_t i = find(alg);

    return i < MU_COUNT(hashes) ? hashes[i].size : 0;
}

const char *hash_name(enum hash_alg alg)
{
    size_t i = find(alg);

    return i < MU_COUNT(hashes) ? hashes[i].name : "unknown";
}

enum hash_alg hash_from_name(const char *name)
{
    for (size_t i = 0; i < MU_COUNT(hashes); i++)
        if (strcasecmp(hashes[i].name, name) == 0)
            return hashes[i].alg;
    return HASH_NONE;
}

const EVP_MD *hash_md(enum hash_alg alg)
{
    size_t i = find(alg);

    return i < MU_COUNT(hashes) ? hashes[i].md() : NULL;
}

/* H(a || b) */
static enum mu_status hash_two(enum hash_alg alg, struct bytes a, struct bytes b,
                               struct digest *ret, struct mu_error *err)
{
    MU_CLEANUP(md_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const EVP_MD *md = hash_md(alg);
    struct digest digest = {0};

    if (md == NULL)
        return mu_fail(err, MU_INTERNAL, "hash algorithm 0x%04x is not known", (unsigned)alg);
    if (ctx == NULL || EVP_DigestInit_ex(ctx, md, NULL) != 1 ||
        EVP_DigestUpdate(ctx, a.data, a.len) != 1 || EVP_DigestUpdate(ctx, b.data, b.len) != 1 ||
        EVP_DigestFinal_ex(ctx, digest.bytes, NULL) != 1)
        return mu_fail(err, MU_INTERNAL, "%s failed in OpenSSL", hash_name(alg));
    *ret = digest;
    return MU_OK;
}

enum mu_status hash_bytes(enum hash_alg alg, struct bytes data, struct digest *ret,
                          struct mu_error *err)
{
    return hash_two(alg, data, (struct bytes){0}, ret, err);
}

enum mu_status hash_extend(enum hash_alg alg, struct digest *pcr, const uint8_t *value,
                           struct mu_error *err)
{
    size_t size = hash_size(alg);

    return hash_two(alg, (struct bytes){pcr->bytes, size}, (struct bytes){value, size}, pcr, err);
}

void pcr_hex(const struct pcr_values *values, unsigned pcr, char ret[static PCR_HEX_SIZE])
{
    size_t size = (values->mask & PCR_BIT(pcr)) != 0 ? hash_size(values->bank) : 0;

    hex_encode((struct bytes){values->value[pcr].bytes, size}, ret);
}

uint32_t pcr_differing(const struct pcr_values *a, const struct pcr_values *b)
{
    uint32_t differ = a->mask ^ b->mask;
    size_t size = hash_size(a->bank);

    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        if (!bytes_equal((struct bytes){a->value[pcr].bytes, size},
                         (struct bytes){b->value[pcr].bytes, size}))
            differ |= PCR_BIT(pcr);
    return differ & (a->mask | b->mask);
}
