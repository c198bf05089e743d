/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/source.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/random.h>

struct source source_of(const struct sockaddr *address)
{
    struct source source = {0};

    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;

        memset(source.bytes + 10, 0xff, 2); /* as IPv6 maps it */
        memcpy(source.bytes + 12, &in->sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)address;

        memcpy(source.bytes, &in->sin6_addr, IN6_IS_ADDR_V4MAPPED(&in->sin6_addr) ? 16 : 8);
    }
    return source;
}

uint64_t source_seed(void)
{
    static const char anywhere = 0; /* its address is random, too, if less so */
    uint64_t seed;

    return getrandom(&seed, sizeof(seed), 0) == sizeof(seed) ? seed
                                                             : (uint64_t)(uintptr_t)&anywhere;
}

/* FNV-1a. */
size_t source_slot(uint64_t seed, const struct source *source, size_t slots)
{
    uint64_t hash = 0xcbf29ce484222325u ^ seed;

    for (size_t i = 0; i < SOURCE_SIZE; i++)
        hash = (hash ^ source->bytes[i]) * 0x100000001b3u;
    return (hash ^ hash >> 32) % slots;
}
