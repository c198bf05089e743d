/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/secret.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

static bool lock_required;

void secret_require_lock(void)
{
    lock_required = true;
}

/* What a signal handler has to wipe. `mapped` is not 0 if a place is taken; `data` is set last and
 * cleared first. */
static struct place {
    _Atomic(uint8_t *) data;
    atomic_size_t mapped;
} places[SECRETS_MAX];

static enum mu_status remember(uint8_t *data, size_t mapped, struct mu_error *err)
{
    for (size_t i = 0; i < SECRETS_MAX; i++) {
        size_t none = 0;

        if (!atomic_compare_exchange_strong(&places[i].mapped, &none, mapped))
            continue;
        atomic_store(&places[i].data, data);
        return MU_OK;
    }
    return mu_fail(err, MU_INTERNAL, "more than %d secrets at once", SECRETS_MAX);
}

static void forget(const uint8_t *data)
{
    for (size_t i = 0; i < SECRETS_MAX; i++) {
        if (atomic_load(&places[i].data) != data)
            continue;
        atomic_store(&places[i].data, NULL);
        atomic_store(&places[i].mapped, 0);
    }
}

void secret_wipe_all(void)
{
    for (size_t i = 0; i < SECRETS_MAX; i++) {
        uint8_t *data = atomic_load(&places[i].data);

        if (data != NULL)
            explicit_bzero(data, atomic_load(&places[i].mapped));
    }
}

void secret_free(struct secret *secret)
{
    if (secret->data != NULL) {
        explicit_bzero(secret->data, secret->mapped);
        forget(secret->data);
        (void)munmap(secret->data, secret->mapped);
    }
    *secret = (struct secret){0};
}

enum mu_status secret_alloc(struct secret *ret, size_t len, struct mu_error *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    MU_CLEANUP(secret_free) struct secret secret = {0};
    void *data;

    if (len > SIZE_MAX - page)
        return mu_oom(err);
    secret.mapped = (len / page + 1) * page;
    data = mmap(NULL, secret.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return mu_oom(err);
    secret.data = data;
    secret.len = len;
    MU_TRY(remember(secret.data, secret.mapped, err));
    if (mlock(data, secret.mapped) != 0 && lock_required)
        return mu_fail(err, MU_CONFIG, "memory for a secret cannot be locked: %s", strerror(errno));
    if (madvise(data, secret.mapped, MADV_DONTDUMP) != 0 ||
        madvise(data, secret.mapped, MADV_WIPEONFORK) != 0)
        return mu_fail(err, MU_INTERNAL, "memory for a secret: madvise: %s", strerror(errno));
    *ret = MU_TAKE(secret);
    return MU_OK;
}

enum mu_status secret_random(struct secret *ret, size_t len, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret secret = {0};
    size_t got = 0;

    MU_TRY(secret_alloc(&secret, len, err));
    while (got < len) {
        ssize_t n = getrandom(secret.data + got, len - got, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return mu_fail(err, MU_INTERNAL, "no random numbers: %s", strerror(errno));
        got += (size_t)n;
    }
    *ret = MU_TAKE(secret);
    return MU_OK;
}

void wiping_free(void *memory)
{
    if (memory != NULL)
        explicit_bzero(memory, malloc_usable_size(memory));
    free(memory);
}

void *wiping_realloc(void *old, size_t size)
{
    size_t had = old != NULL ? malloc_usable_size(old) : 0;
    void *moved;

    if (old != NULL && size == 0) {
        wiping_free(old);
        return NULL;
    }
    moved = malloc(size);
    if (moved == NULL)
        return NULL;
    if (old != NULL)
        memcpy(moved, old, had < size ? had : size);
    wiping_free(old);
    return moved;
}
