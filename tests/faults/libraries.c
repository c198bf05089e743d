/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Allocations inside OpenSSL and libcurl, told apart by their place in the source or the text. */
#include "faults.h"

#include <dlfcn.h>
#include <stdio.h>

#include <curl/curl.h>
#include <openssl/crypto.h>

int __real_CRYPTO_set_mem_functions(CRYPTO_malloc_fn m, CRYPTO_realloc_fn r, CRYPTO_free_fn f);
CURLcode __real_curl_global_init_mem(long flags, curl_malloc_callback m, curl_free_callback f,
                                     curl_realloc_callback r, curl_strdup_callback s,
                                     curl_calloc_callback c);

static CRYPTO_malloc_fn openssl_malloc;
static CRYPTO_realloc_fn openssl_realloc;
static struct {
    curl_malloc_callback malloc;
    curl_realloc_callback realloc;
    curl_strdup_callback strdup;
    curl_calloc_callback calloc;
} curl_memory;

static bool openssl_fails(const char *file, int line)
{
    char text[64];
    uint64_t key = (uint64_t)line;

    for (const char *c = file != NULL ? file : ""; *c != '\0'; c++)
        key = key * 0x100000001b3 ^ (uint8_t)*c;
    (void)snprintf(text, sizeof(text), "%s:%d", file != NULL ? file : "", line);
    return count_named("<openssl-memory>", key, text) != NULL;
}

static void *failing_malloc(size_t size, const char *file, int line)
{
    void *memory;

    if (openssl_fails(file, line))
        return NULL;
    inside = true;
    memory = openssl_malloc(size, file, line);
    inside = false;
    return memory;
}

static void *failing_realloc(void *old, size_t size, const char *file, int line)
{
    void *memory;

    if (openssl_fails(file, line))
        return NULL;
    inside = true;
    memory = openssl_realloc(old, size, file, line);
    inside = false;
    return memory;
}

REPLACE(int, CRYPTO_set_mem_functions, (CRYPTO_malloc_fn m, CRYPTO_realloc_fn r, CRYPTO_free_fn f))
{
    openssl_malloc = m;
    openssl_realloc = r;
    return __real_CRYPTO_set_mem_functions(failing_malloc, failing_realloc, f);
}

static bool curl_fails(const void *who)
{
    Dl_info info = {0};
    char text[64];
    uintptr_t place;

    (void)dladdr(who, &info);
    place = (uintptr_t)who - (uintptr_t)info.dli_fbase;
    (void)snprintf(text, sizeof(text), "libcurl+0x%lx", (unsigned long)place);
    return count_named("<curl-memory>", place, text) != NULL;
}

#define CURL_CALL(call)                                                                            \
    void *memory = NULL;                                                                           \
    if (!curl_fails(__builtin_return_address(0))) {                                                \
        inside = true;                                                                             \
        memory = call;                                                                             \
        inside = false;                                                                            \
    }                                                                                              \
    return memory

static void *failing_curl_malloc(size_t size)
{
    CURL_CALL(curl_memory.malloc(size));
}

static void *failing_curl_realloc(void *old, size_t size)
{
    CURL_CALL(curl_memory.realloc(old, size));
}

static void *failing_curl_calloc(size_t n, size_t size)
{
    CURL_CALL(curl_memory.calloc(n, size));
}

static char *failing_curl_strdup(const char *text)
{
    CURL_CALL(curl_memory.strdup(text));
}

REPLACE(CURLcode, curl_global_init_mem,
        (long flags, curl_malloc_callback m, curl_free_callback f, curl_realloc_callback r,
         curl_strdup_callback s, curl_calloc_callback c))
{
    curl_memory.malloc = m;
    curl_memory.realloc = r;
    curl_memory.strdup = s;
    curl_memory.calloc = c;
    return __real_curl_global_init_mem(flags, failing_curl_malloc, f, failing_curl_realloc,
                                       failing_curl_strdup, failing_curl_calloc);
}
