/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TESTS_VECTORS_H
#define MU_TESTS_VECTORS_H

#include "base/bytes.h"

/* A file of the conformance vectors (MU_VECTORS, default ../shared/vectors); where it is absent the
 * running test is skipped with a line that says so. */
struct buffer vector_load(const char *name);

#endif
