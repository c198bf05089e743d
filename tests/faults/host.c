/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The TPM, each command on its way there, there, and on its way back; and what stands in for the
 * rest that this host has not. */
#include "faults.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <libcryptsetup.h>
#include <libdevmapper.h>
#include <openssl/evp.h>
#include <tss2/tss2_tcti_swtpm.h>

#define FENCE_PCR 15

ssize_t __real_pread(int fd, void *to, size_t len, off_t at);
int __real_access(const char *path, int mode);
int __real_open(const char *path, int flags, ...);
TSS2_RC __real_Tss2_Tcti_Swtpm_Init(TSS2_TCTI_CONTEXT *tcti, size_t *size, const char *conf);

/* ---- the TPM ---- */

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
    return strcmp(path, "/dev/tpmrm0") == 0 || strcmp(path, "/dev/tpm0") == 0;
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
