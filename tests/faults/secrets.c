/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "faults.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MASK 0x5a /* so that what is looked for is nowhere in memory by our doing */
#define WINDOW 16
#define SECRETS_MAX 64

void __libc_free(void *memory);
void *__libc_malloc(size_t size);
int __real_munmap(void *memory, size_t size);

static struct {
    char name[24];
    uint8_t masked[WINDOW];
} secret[SECRETS_MAX];
static size_t secrets;
static uint8_t first_two[65536 / 8];

void look(const void *memory, size_t size, const char *how, const void *who)
{
    const uint8_t *p = memory;
    Dl_info info;

    for (size_t i = 0; i + WINDOW <= size; i++) {
        unsigned two = ((unsigned)(p[i] ^ MASK) << 8) | (unsigned)(p[i + 1] ^ MASK);

        if ((first_two[two / 8] & 1u << two % 8) == 0)
            continue;
        for (size_t s = 0; s < secrets; s++) {
            size_t same = 0;

            while (same < WINDOW && (p[i + same] ^ MASK) == secret[s].masked[same])
                same++;
            if (same < WINDOW)
                continue;
            if (dladdr(who, &info) == 0)
                info = (Dl_info){.dli_fname = "?"};
            note("leak %s %s %zu+%zu %s %s+0x%lx\n", secret[s].name, how, i, size, info.dli_fname,
                 info.dli_sname ? info.dli_sname : "",
                 (unsigned long)((uintptr_t)who - (uintptr_t)info.dli_fbase));
        }
    }
}

/* These two are libc's for every library of the process. */
void free(void *memory)
{
    if (memory != NULL && secrets > 0)
        look(memory, malloc_usable_size(memory), "freed", __builtin_return_address(0));
    __libc_free(memory);
}

void *realloc(void *old, size_t size)
{
    size_t had = old != NULL ? malloc_usable_size(old) : 0;
    void *moved = __libc_malloc(size);

    if (moved == NULL)
        return NULL;
    if (old != NULL)
        memcpy(moved, old, had < size ? had : size);
    if (old != NULL && secrets > 0)
        look(old, had, "reallocated", __builtin_return_address(0));
    __libc_free(old);
    return moved;
}

REPLACE(int, munmap, (void *memory, size_t size))
{
    look(memory, size, "unmapped", __builtin_return_address(0));
    return __real_munmap(memory, size);
}

size_t slurp(const char *path, uint8_t *to, size_t cap)
{
    long fd = path != NULL ? syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    size_t len = 0;
    long n;

    while (fd >= 0 && len < cap && (n = syscall(SYS_read, fd, to + len, cap - len)) > 0)
        len += (size_t)n;
    if (fd >= 0)
        (void)syscall(SYS_close, fd);
    return len;
}

void look_everywhere(void)
{
    static char maps[1 << 17];
    static uint8_t resident[1 << 16];
    const uintptr_t page = 4096;
    size_t len = slurp("/proc/self/maps", (uint8_t *)maps, sizeof(maps) - 1);
    char *line = maps, *end;

    maps[len] = '\0';
    for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        unsigned long from, to;
        char mode[5];

        if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3 || mode[0] != 'r' || mode[1] != 'w')
            continue;
        if ((to - from) / page > sizeof(resident) ||
            syscall(SYS_mincore, from, to - from, resident) != 0)
            continue;
        for (uintptr_t at = from; at < to; at += page) {
            uintptr_t stop = at;

            while (stop < to && (resident[(stop - from) / page] & 1) != 0)
                stop += page;
            if (stop > at) {
                look((const void *)at, stop - at, "left", (const void *)at);
                at = stop;
            }
        }
    }
}

void read_secrets(void)
{
    static char text[8192];
    size_t len = slurp(getenv("FAULT_SECRETS"), (uint8_t *)text, sizeof(text) - 1);
    char *line = text, *end;

    text[len] = '\0';
    for (; (end = strchr(line, '\n')) != NULL && secrets < SECRETS_MAX; line = end + 1) {
        char hex[2 * WINDOW + 1];
        unsigned two;

        if (sscanf(line, "%23s %32s", secret[secrets].name, hex) != 2)
            continue;
        for (size_t i = 0; i < WINDOW; i++) {
            unsigned byte = 0;

            (void)sscanf(hex + 2 * i, "%2x", &byte);
            secret[secrets].masked[i] = (uint8_t)byte;
        }
        two = (unsigned)secret[secrets].masked[0] << 8 | secret[secrets].masked[1];
        first_two[two / 8] |= (uint8_t)(1u << two % 8);
        secrets++;
    }
}
