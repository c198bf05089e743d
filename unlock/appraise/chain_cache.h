/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_CHAIN_CACHE_H
#define MU_APPRAISE_CHAIN_CACHE_H

#include <openssl/x509.h>

#include "base/bytes.h"

/* Remembers which sequences of CA certificates, each the issuer of the one before and the last one
 * the root, have been verified, and between which times all of them are valid: verifying them is
 * most of the cost of a document, and they stay the same for hours. There are two of each path: the
 * one from the instance's own CA, so that a later document costs its leaf's signature alone, and
 * the one from the CA above it (a zone's), so that a first document costs one signature more.
 *
 * chain_verify takes a path as verified if the rest of it is verified below a known sequence, by
 * X509_verify_cert with the first of that sequence as its only trust anchor. That is the verdict of
 * verifying all of it (RFC 5280, 6.1), because
 * - the sequence is the same bit for bit, so signatures, names, key identifiers, CA flags, key
 *   usage and critical extensions within it are as they were; the time must be within it;
 * - what a certificate states about those below it is looked at for each document: path lengths by
 *   chain_cache_may_split, which counts every CA, also those that issued themselves; and
 *   constraints on names, policies and addresses cannot be there, because a path with any
 *   extension other than five is not split: basicConstraints, keyUsage, the two key identifiers
 *   and where revocation lists are;
 * - X509_verify_cert looks at the rest itself, among it the signature by the key of the known CA;
 * - chain_verify's own rules are applied to each certificate before.
 * What is not found valid in this way is verified as a whole, which also says what is wrong.
 *
 * For any number of threads. The cache holds digests only; a sequence that was dropped is verified
 * again. It grows to 80 MiB at most, which is room for more than a million instances. */
struct chain_cache;

enum mu_status chain_cache_new(struct chain_cache **ret, struct mu_error *err) MU_MUST_CHECK;
void chain_cache_free(struct chain_cache **cache);

/* True if what is below a known sequence of this path may be verified by itself. */
bool chain_cache_may_split(const STACK_OF(X509) * path);
/* The sequence path[from], path[from + 1], ..., the root, at the time `at` (seconds since 1970). */
bool chain_cache_knows(struct chain_cache *cache, const STACK_OF(X509) * path, int from,
                       int64_t at);
/* Call this only with a path that was verified, at `at`, and may be split. */
void chain_cache_add(struct chain_cache *cache, const STACK_OF(X509) * path, int from, int64_t at);

#endif
