/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_SOURCE_H
#define MU_VERIFIER_SOURCE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* What counts as one sender for the limits: an IPv4 address, or the /64 of an IPv6 address, all of
 * which one host can use (RFC 7421). */
#define SOURCE_SIZE 16
struct source {
    uint8_t bytes[SOURCE_SIZE];
};

struct source source_of(const struct sockaddr *address);
/* A seed that nobody outside knows keeps senders from choosing their slot. */
uint64_t source_seed(void);
size_t source_slot(uint64_t seed, const struct source *source, size_t slots);

#endif
