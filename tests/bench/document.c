/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION
#define CALLGRIND_STOP_INSTRUMENTATION
#endif

#include "appraise/chain.h"
#include "appraise/verify.h"
#include "base/file.h"

/* document FILE ENTRIES LEVEL: verifies the document in FILE at its own time, once, with a cache
 * that knows ENTRIES other instances, and of this one's path from the CA at LEVEL on: 1 is its own
 * CA, 2 the one above it, 0: nothing. Under callgrind with --instr-atstart=no that alone is
 * counted, after one that is not. */

static struct mu_error err;

static void must(enum mu_status status)
{
    if (status == MU_OK)
        return;
    (void)fprintf(stderr, "document: %s\n", err.text);
    exit(1);
}

static X509 *certificate(struct bytes der)
{
    X509 *ret = NULL;

    must(certificate_from_der(der, "certificate", &ret, &err));
    return ret;
}

int main(int argc, char **argv)
{
    struct buffer file = {0}, root = {0};
    struct document document = {0};
    struct chain_cache *cache = NULL;
    struct verify_policy policy = {.at_own_time = true};
    struct verify_report report;
    STACK_OF(X509) *path = sk_X509_new_null();
    long entries;
    int64_t at;
    int level;

    if (argc != 5 || path == NULL)
        return 1;
    entries = strtol(argv[3], NULL, 10);
    level = atoi(argv[4]);
    must(file_read(argv[1], 65536, &file, &err));
    if (argv[2][0] != '\0')
        must(file_read(argv[2], 65536, &root, &err));
    policy.root = buffer_view(&root);
    must(document_parse(buffer_view(&file), &document, &err));
    at = (int64_t)(document.timestamp_ms / 1000);
    must(chain_cache_new(&cache, &err));
    (void)sk_X509_push(path, certificate(document.certificate));
    for (size_t i = document.cabundle_count; i > 0; i--)
        (void)sk_X509_push(path, certificate(document.cabundle[i - 1]));
    must(verify_document(&document, &policy, &report, &err));
    if (level > 0)
        chain_cache_add(cache, path, level, at);
    while (sk_X509_num(path) > 2) /* the others are only there to fill it */
        X509_free(sk_X509_pop(path));
    for (long i = 0; i < entries; i++) {
        (void)ASN1_INTEGER_set(X509_get_serialNumber(sk_X509_value(path, 1)), 1000 + i);
        chain_cache_add(cache, path, 1, at);
    }
    policy.cache = cache;
    CALLGRIND_START_INSTRUMENTATION;
    must(verify_document(&document, &policy, &report, &err));
    CALLGRIND_STOP_INSTRUMENTATION;
    sk_X509_pop_free(path, X509_free);
    chain_cache_free(&cache);
    document_free(&document);
    buffer_free(&file);
    buffer_free(&root);
    return 0;
}
