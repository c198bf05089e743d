/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TESTS_TEST_H
#define MU_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"

/* A test is `TEST(name) { ... }`. main() is in test.c; it runs the tests of a program in the order
 * of its file. */
#define TEST(name)                                                                                 \
    static void name(void **state);                                                                \
    __attribute__((constructor)) static void name##_is_a_test(void)                                \
    {                                                                                              \
        test_add(#name, name);                                                                     \
    }                                                                                              \
    static void name(__attribute__((unused)) void **state)

/* A file defines those that it needs. They may assert. */
__attribute__((weak)) void before_all(void);
__attribute__((weak)) void after_all(void);
__attribute__((weak)) void before_each(void);
__attribute__((weak)) void after_each(void);

/* The last failure; empty when a test begins. */
extern struct mu_error err;

/* The path of NAME in a folder of this program, in memory because of the many syncs. The folder and
 * its files are removed at the end. Valid until then. */
const char *temp_path(const char *name);

/* tests/data/NAME; programs are started at the top of the tree. */
struct buffer data_load(const char *name);

/* A file of the conformance vectors (MU_VECTORS, default ../shared/vectors). False if it is absent:
 * what is genuine comes in addition to what we make ourselves, and a line says that it is missing.
 */
bool vector_find(const char *name, struct buffer *ret);

void test_add(const char *name, CMUnitTestFunction run);

#endif
