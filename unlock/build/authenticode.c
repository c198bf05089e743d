/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/authenticode.h"

#include <stdlib.h>

#include "build/pe.h"

static int by_offset(const void *a, const void *b)
{
    const struct pe_section *x = a, *y = b;

    return (x->raw_offset > y->raw_offset) - (x->raw_offset < y->raw_offset);
}

static bool update(EVP_MD_CTX *context, const struct pe *pe, size_t from, size_t to)
{
    return from <= to && to <= pe->image.len &&
           EVP_DigestUpdate(context, pe->image.data + from, to - from) == 1;
}

/* Steps 3 to 6: the headers without the check sum and the certificate directory entry. */
static bool update_headers(EVP_MD_CTX *context, const struct pe *pe)
{
    if (!update(context, pe, 0, pe->checksum))
        return false;
    if (pe->security == 0)
        return update(context, pe, pe->checksum + 4, pe->headers_size);
    return update(context, pe, pe->checksum + 4, pe->security) &&
           update(context, pe, pe->security + 8, pe->headers_size);
}

/* Steps 7 to 14: the sections by their place in the file, then what follows them. As EDK2 counts
 * it, "what follows" begins after as many bytes as have been hashed. */
static bool update_sections(EVP_MD_CTX *context, struct pe *pe)
{
    size_t hashed = pe->headers_size;
    size_t end = pe->image.len - pe->certificates_size;

    qsort(pe->section, pe->sections, sizeof(pe->section[0]), by_offset);
    for (size_t i = 0; i < pe->sections; i++) {
        const struct pe_section *s = &pe->section[i];

        if (!update(context, pe, s->raw_offset, (size_t)s->raw_offset + s->raw_size))
            return false;
        hashed += s->raw_size;
    }
    return hashed == end || update(context, pe, hashed, end);
}

enum mu_status authenticode_hash(struct bytes image, enum hash_alg alg, struct digest *ret,
                                 struct mu_error *err)
{
    const EVP_MD *md = hash_md(alg);
    struct digest digest = {0};
    EVP_MD_CTX *context;
    struct pe pe;
    bool fits, done;

    if (md == NULL)
        return mu_fail(err, MU_CONFIG, "no Authenticode digest with that hash algorithm");
    MU_TRY(pe_parse(image, &pe, err));
    context = EVP_MD_CTX_new();
    if (context == NULL || EVP_DigestInit_ex(context, md, NULL) != 1) {
        EVP_MD_CTX_free(context);
        return mu_oom(err);
    }
    fits = update_headers(context, &pe) && update_sections(context, &pe);
    done = EVP_DigestFinal_ex(context, digest.bytes, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (!fits)
        return mu_fail(err, MU_CONFIG, "PE image: headers or sections overlap");
    if (!done)
        return mu_fail(err, MU_INTERNAL, "hashing failed");
    *ret = digest;
    return MU_OK;
}
