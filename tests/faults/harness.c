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
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libcryptsetup.h>
#include <libdevmapper.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <curl/curl.h>
#include <openssl/evp.h>
#include <tss2/tss2_tcti_swtpm.h>

#define MASK 0x5a
#define WINDOW 16
#define SECRETS_MAX 64
#define PATHS_MAX 8192u
#define FRAMES_MAX 12
#define FENCE_PCR 15

struct row {
    int symbol;
    long value;
    int error;
    int after;
    const char *classes;
    const char *name;
};
#include "rows.h"

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
void __libc_free(void *memory);
void *__libc_malloc(size_t size);
int __real_munmap(void *memory, size_t size);
int __real_CRYPTO_set_mem_functions(CRYPTO_malloc_fn m, CRYPTO_realloc_fn r, CRYPTO_free_fn f);
CURLcode __real_curl_global_init_mem(long flags, curl_malloc_callback m, curl_free_callback f,
                                     curl_realloc_callback r, curl_strdup_callback s,
                                     curl_calloc_callback c);
ssize_t __real_pread(int fd, void *to, size_t len, off_t at);
int __real_access(const char *path, int mode);
int __real_open(const char *path, int flags, ...);
TSS2_RC __real_Tss2_Tcti_Swtpm_Init(TSS2_TCTI_CONTEXT *tcti, size_t *size, const char *conf);

static struct path paths[PATHS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static int wanted_row = -1;
static uint64_t wanted_hash;
static unsigned wanted_count;
static _Thread_local bool inside; /* a library's allocation comes by: it was counted there */
static _Thread_local uintptr_t return_to;
static _Thread_local const struct row *leaving;

static struct {
    char name[24];
    uint8_t masked[WINDOW];
} secret[SECRETS_MAX];
static size_t secrets;
static uint8_t first_two[65536 / 8];

static void note(const char *format, ...)
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

/* ---- secrets ---- */

static void look(const void *memory, size_t size, const char *how, const void *who)
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

#define REPLACE(type, name, args)                                                                  \
    type replace_##name args;                                                                      \
    type replace_##name args

REPLACE(int, munmap, (void *memory, size_t size))
{
    look(memory, size, "unmapped", __builtin_return_address(0));
    return __real_munmap(memory, size);
}

static size_t slurp(const char *path, uint8_t *to, size_t cap)
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

/* All that can be written to and was, when everything should be over. */
static void look_everywhere(void)
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
static const struct row *count_named(const char *name, uint64_t key, const char *text)
{
    struct path path = {.symbol = 0};

    while (strcmp(symbols[path.symbol], name) != 0)
        path.symbol++;
    path.hash = mix(mix(0xcbf29ce484222325, (uint64_t)path.symbol), key);
    (void)snprintf(path.text, sizeof(path.text), "%s", text);
    return count(&path);
}

/* ---- allocations inside OpenSSL and libcurl: by the place in their source or text ---- */

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
        key = mix(key, (uint8_t)*c);
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

/* ---- the TPM: each command, on its way there, there, and on its way back ---- */

static TSS2_TCTI_TRANSMIT_FCN real_transmit;
static TSS2_TCTI_RECEIVE_FCN real_receive;
static const struct row *answer; /* to the command that was not sent on */
static uint32_t command;

static const struct row *tpm_row(const char *name)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "command 0x%x", command);
    return count_named(name, command, text);
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *tcti, size_t size, const uint8_t *bytes)
{
    const struct row *row;

    command = size >= 10 ? (uint32_t)bytes[6] << 24 | (uint32_t)bytes[7] << 16 |
                               (uint32_t)bytes[8] << 8 | bytes[9]
                         : 0;
    row = tpm_row("<tpm-transmit>");
    if (row != NULL)
        return (TSS2_RC)row->value;
    answer = tpm_row("<tpm-answer>");
    return answer != NULL ? TSS2_RC_SUCCESS : real_transmit(tcti, size, bytes);
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *tcti, size_t *size, uint8_t *bytes, int32_t timeout)
{
    const struct row *row;
    TSS2_RC rc;

    if (answer != NULL) {
        uint32_t code = (uint32_t)answer->value;
        const uint8_t made[10] = {0x80,
                                  0x01,
                                  0,
                                  0,
                                  0,
                                  10,
                                  (uint8_t)(code >> 24),
                                  (uint8_t)(code >> 16),
                                  (uint8_t)(code >> 8),
                                  (uint8_t)code};

        *size = sizeof(made);
        if (bytes == NULL)
            return TSS2_RC_SUCCESS;
        memcpy(bytes, made, sizeof(made));
        answer = NULL;
        return TSS2_RC_SUCCESS;
    }
    rc = real_receive(tcti, size, bytes, timeout);
    if (rc != TSS2_RC_SUCCESS || bytes == NULL)
        return rc;
    if ((row = tpm_row("<tpm-receive>")) != NULL)
        return (TSS2_RC)row->value;
    if ((row = tpm_row("<tpm-short>")) != NULL)
        *size = (size_t)row->value;
    return TSS2_RC_SUCCESS;
}

/* What the program takes for the TPM's device is swtpm. */
REPLACE(TSS2_RC, Tss2_Tcti_Device_Init, (TSS2_TCTI_CONTEXT * tcti, size_t *size, const char *conf))
{
    char where[64];
    TSS2_RC rc;

    (void)snprintf(where, sizeof(where), "host=127.0.0.1,port=%s", getenv("FAULT_TPM"));
    rc = __real_Tss2_Tcti_Swtpm_Init(tcti, size, conf != NULL ? where : NULL);
    if (rc == TSS2_RC_SUCCESS && tcti != NULL) {
        real_transmit = TSS2_TCTI_TRANSMIT(tcti);
        real_receive = TSS2_TCTI_RECEIVE(tcti);
        TSS2_TCTI_TRANSMIT(tcti) = transmit;
        TSS2_TCTI_RECEIVE(tcti) = receive;
    }
    return rc;
}

static bool is_tpm(const char *path)
{
    return strcmp(path, "/dev/tpmrm0") == 0;
}

REPLACE(int, access, (const char *path, int mode))
{
    return is_tpm(path) ? 0 : __real_access(path, mode);
}

/* Only to lock it. */
REPLACE(int, open, (const char *path, int flags, ...))
{
    return __real_open(is_tpm(path) ? getenv("FAULT_KEY") : path, flags);
}

/* tpm2-tss closes its connection after each command, and swtpm serves one at a time. */
static int tpm_socket(void)
{
    const char *port = getenv("FAULT_TPM");
    struct sockaddr_in where = {.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                .sin_port = htons((uint16_t)atoi(port != NULL ? port : "0"))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&where, sizeof(where)) == 0)
        return fd;
    (void)syscall(SYS_close, fd);
    return -1;
}

/* TPM 2.0 Part 3, 22.4: the fence PCR of one bank, past the program's own code. */
static bool fence_closed(uint8_t alg)
{
    const uint8_t read_pcr[20] = {0x80,
                                  0x01,
                                  0,
                                  0,
                                  0,
                                  20,
                                  0,
                                  0,
                                  0x01,
                                  0x7e,
                                  0,
                                  0,
                                  0,
                                  1,
                                  0,
                                  alg,
                                  3,
                                  FENCE_PCR < 8,
                                  1u << (FENCE_PCR - 8),
                                  0};
    uint8_t response[256] = {0};
    int fd = tpm_socket();
    long n;

    if (fd < 0)
        return false;
    n = syscall(SYS_write, fd, read_pcr, sizeof(read_pcr));
    n = n == sizeof(read_pcr) ? syscall(SYS_read, fd, response, sizeof(response)) : -1;
    (void)syscall(SYS_close, fd);
    if (n < 10 || response[6] || response[7] || response[8] || response[9])
        return false;
    for (long i = 30; i < n; i++)
        if (response[i] != 0)
            return true;
    return n <= 30; /* the bank is not there */
}

/* ---- what this host has not ---- */

static bool active;

REPLACE(ssize_t, pread, (int fd, void *to, size_t len, off_t at))
{
    static unsigned reads;
    static int other = -1;
    const char *swap = getenv("FAULT_SWAP");
    const char *file = swap != NULL ? strchr(swap, ':') : NULL;

    if (file != NULL && ++reads >= strtoul(swap, NULL, 10) && other < 0) {
        other = (int)syscall(SYS_openat, AT_FDCWD, file + 1, O_RDONLY | O_CLOEXEC);
        note("swapped\n");
    }
    return __real_pread(other < 0 ? fd : other, to, len, at);
}

REPLACE(EVP_PKEY *, EVP_PKEY_Q_keygen,
        (void *context, const char *properties, const char *type, ...))
{
    static uint8_t der[4096];
    const uint8_t *p = der;
    size_t len = slurp(getenv("FAULT_KEY"), der, sizeof(der));
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &p, (long)len);

    (void)context;
    (void)properties;
    (void)type;
    memset(der, 0, sizeof(der));
    __asm__ volatile("" : : "r"(der) : "memory");
    return key;
}

REPLACE(crypt_status_info, crypt_status, (struct crypt_device * cd, const char *name))
{
    (void)cd;
    (void)name;
    return active ? CRYPT_ACTIVE : CRYPT_INACTIVE;
}

REPLACE(int, crypt_activate_by_volume_key,
        (struct crypt_device * cd, const char *name, const char *key, size_t size, uint32_t flags))
{
    bool closed =
        fence_closed(0x04) && fence_closed(0x0b) && fence_closed(0x0c) && fence_closed(0x0d);

    (void)cd;
    (void)key;
    (void)flags;
    active = true;
    note("activate %s %zu fence=%s\n", name, size, closed ? "closed" : "OPEN");
    return 0;
}

REPLACE(int, crypt_deactivate, (struct crypt_device * cd, const char *name))
{
    (void)cd;
    active = false;
    note("deactivate %s\n", name);
    return 0;
}

REPLACE(struct dm_task *, dm_task_create, (int type))
{
    (void)type;
    return (struct dm_task *)(void *)&active;
}

REPLACE(void, dm_task_destroy, (struct dm_task * task))
{
    (void)task;
}

REPLACE(int, dm_task_secure_data, (struct dm_task * task))
{
    return task != NULL;
}

REPLACE(int, dm_task_set_name, (struct dm_task * task, const char *name))
{
    return task != NULL && name != NULL;
}

REPLACE(int, dm_task_run, (struct dm_task * task))
{
    return task != NULL && active;
}

/* The table that the kernel would have for the image that FAULT_TABLE describes: sectors, data
 * offset. */
REPLACE(void *, dm_get_next_target,
        (struct dm_task * task, void *next, uint64_t *start, uint64_t *length, char **type,
         char **params))
{
    static char crypt[] = "crypt";
    static char table[96];
    unsigned long sectors = 0, offset = 0;
    const char *made = getenv("FAULT_TABLE");

    (void)task;
    (void)next;
    (void)sscanf(made != NULL ? made : "", "%lu %lu", &sectors, &offset);
    (void)snprintf(table, sizeof(table), "aes-xts-plain64 :64:logon:x 0 0:0 %lu", offset);
    *start = 0;
    *length = sectors - offset;
    *type = crypt;
    *params = table;
    return NULL;
}

/* ---- one run ---- */

static void read_secrets(void)
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
