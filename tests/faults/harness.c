/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Linked into the boot program for tests/integration/test_faults.py: makes one library call of a
 * run fail (wrap.S and rows.h, which `generate` makes, say which and how), looks for secrets in
 * whatever is freed, and stands in for what a host without device-mapper cannot do. A call is known
 * by its path, the return addresses within the program, and by how often this path was taken; so
 * the k-th call is the same one in each run, whatever the threads do.
 * - FAULT=ROW:PATH:N: the N-th call of that path fails; absent: record what is called
 * - FAULT_LOG=FILE: call, fired, activate, deactivate and leak lines
 * - FAULT_SECRETS=FILE: lines of "NAME HEX", 16 bytes each exclusive-or MASK
 * - FAULT_KEY=FILE: DER of the RSA key that is "generated"
 * - FAULT_TPM=PORT: swtpm's
 * - FAULT_TABLE="SECTORS OFFSET": of the volume, in sectors
 * - FAULT_SWAP=N:FILE: from the N-th read of the volume on, another disk is there */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the values in rows.h are. */
#include <curl/curl.h>
#include <libcryptsetup.h>
#include <tss2/tss2_esys.h>

#include "rows.h"

#define PATHS_MAX 8192u
#define FRAMES_MAX 12

/* One call path, as far as it was taken. */
struct path {
    uint64_t hash;
    int symbol;
    unsigned count;
    size_t frames;
    uintptr_t frame[FRAMES_MAX];
    char text[64];
};

struct decision {
    const void *target;
    long value;
};

extern const void *const fault_real[];
extern const char __executable_start[], etext[];
void fault_after(void);
struct decision fault_enter(int symbol, uintptr_t *ret, const uintptr_t *frame);
struct decision fault_leave(void);
int __wrap_main(int argc, char **argv);
int __real_main(int argc, char **argv);

static struct path paths[PATHS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static int wanted_row = -1;
static uint64_t wanted_hash;
static unsigned wanted_count;
_Thread_local bool inside;
static _Thread_local uintptr_t return_to;
static _Thread_local const struct row *leaving;

void note(const char *format, ...)
{
    char line[512];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (log_fd >= 0 && n > 0)
        (void)syscall(SYS_write, log_fd, line,
                      (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

/* ---- which call fails ---- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    for (int i = 0; i < 8; i++, value >>= 8)
        hash = (hash ^ (value & 0xff)) * 0x100000001b3;
    return hash;
}

static struct path *find(uint64_t hash)
{
    size_t i = hash % PATHS_MAX;

    while (paths[i].hash != 0 && paths[i].hash != hash)
        i = (i + 1) % PATHS_MAX;
    return &paths[i];
}

/* Counts the call; the row by which it is to fail, or NULL. */
static const struct row *count(const struct path *here)
{
    const struct row *row = NULL;
    struct path *path;

    pthread_mutex_lock(&lock);
    path = find(here->hash);
    if (path->hash == 0)
        *path = *here;
    if (++path->count == wanted_count && here->hash == wanted_hash && wanted_row >= 0 &&
        rows[wanted_row].symbol == here->symbol)
        row = &rows[wanted_row];
    pthread_mutex_unlock(&lock);
    if (row != NULL)
        note("fired\n");
    return row;
}

static bool ours(uintptr_t address)
{
    return address >= (uintptr_t)__executable_start && address < (uintptr_t)etext;
}

struct decision fault_enter(int symbol, uintptr_t *ret, const uintptr_t *frame)
{
    struct path path = {.hash = mix(0xcbf29ce484222325, (uint64_t)symbol), .symbol = symbol};
    struct decision decision = {fault_real[symbol], 0};
    const struct row *row;
    int saved = errno;

    if (inside)
        return decision;
    for (uintptr_t at = *ret; ours(at) && path.frames < FRAMES_MAX;
         frame = (const uintptr_t *)frame[0]) {
        path.frame[path.frames] = at - (uintptr_t)__executable_start;
        path.hash = mix(path.hash, path.frame[path.frames++]);
        at = frame[1];
    }
    row = count(&path);
    errno = saved;
    if (row == NULL)
        return decision;
    if (!row->after) {
        errno = row->error;
        return (struct decision){NULL, row->value};
    }
    return_to = *ret;
    leaving = row;
    *ret = (uintptr_t)fault_after;
    return decision;
}

/* For fault_after: what to return, and where to. */
struct decision fault_leave(void)
{
    errno = leaving->error;
    return (struct decision){(const void *)leaving->value, (long)return_to};
}

/* What is no call of the program: by name, told apart by `key`. */
const struct row *count_named(const char *name, uint64_t key, const char *text)
{
    struct path path = {.symbol = 0};

    while (strcmp(symbols[path.symbol], name) != 0)
        path.symbol++;
    path.hash = mix(mix(0xcbf29ce484222325, (uint64_t)path.symbol), key);
    (void)snprintf(path.text, sizeof(path.text), "%s", text);
    return count(&path);
}

/* ---- one run ---- */

static void print_paths(void)
{
    for (size_t i = 0; i < PATHS_MAX; i++) {
        char frames[FRAMES_MAX * 12] = "";
        size_t len = 0;

        if (paths[i].hash == 0)
            continue;
        for (size_t f = 0; f < paths[i].frames; f++)
            len += (size_t)snprintf(frames + len, sizeof(frames) - len, " %lx",
                                    (unsigned long)paths[i].frame[f]);
        note("call %s %lx %u%s %s\n", symbols[paths[i].symbol], (unsigned long)paths[i].hash,
             paths[i].count, frames, paths[i].text);
    }
}

static void prepare(void)
{
    const char *fault = getenv("FAULT");
    const char *log = getenv("FAULT_LOG");

    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log != NULL ? log : "/dev/null",
                          O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    read_secrets();
    if (fault != NULL && sscanf(fault, "%d:%lx:%u", &wanted_row, &wanted_hash, &wanted_count) != 3)
        _exit(99);
}

static void conclude(void)
{
    if (wanted_row < 0)
        print_paths();
    wanted_row = -1;
    look_everywhere();
}

/* One call of main, so that the paths in a run with a failure are those of one without. */
int __wrap_main(int argc, char **argv)
{
    int code;

    prepare();
    code = __real_main(argc, argv);
    conclude();
    return code;
}
