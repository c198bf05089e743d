/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TESTS_FUZZ_H
#define MU_TESTS_FUZZ_H

#include <openssl/evp.h>

#include "attest/document.h"
#include "base/bytes.h"
#include "base/clock.h"

/* What the targets share. Each has one LLVMFuzzerTestOneInput; a custom mutator where a signature
 * would keep the fuzzer out. */

#define FUZZ_PATH_SIZE 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

/* A finding, like a crash. */
void fuzz_require(bool holds, const char *what);

/* MU_OK, or one of the classes in the mask (1 << MU_REFUSE | ...) with a text. */
void fuzz_outcome(enum mu_status status, const struct mu_error *err, unsigned classes);

/* A file in memory with this content, `size` bytes long (sparse beyond the content); the same one
 * each time. */
void fuzz_file(struct bytes content, size_t size, char ret_path[static FUZZ_PATH_SIZE]);

/* A project file, by its path in the tree: the targets run there. */
struct buffer fuzz_load(const char *path);

/* Keys that are secret to nobody: the leaf of the documents in the corpus (P-384), the recipient of
 * the CMS messages there (RSA-2048). */
EVP_PKEY *fuzz_leaf_key(void);
EVP_PKEY *fuzz_rsa_key(void);
/* Ed25519, of an image builder. */
EVP_PKEY *fuzz_builder_key(void);

/* The document's own root in PEM; empty if it is no certificate. */
struct buffer fuzz_own_root(const struct document *document);

/* Pauses between attempts take no time (ld --wrap); this many are granted, then the deadline has
 * passed. */
extern unsigned fuzz_pauses;
bool __wrap_clock_pause_ms(unsigned ms, struct deadline deadline);
/* The log is not looked at. */
void __wrap_log_line(const char *format, ...) MU_PRINTF(1, 2);

/* Up to `len` bytes, fewer at the end of the input. */
struct bytes fuzz_take(struct reader *r, size_t len);

#endif
