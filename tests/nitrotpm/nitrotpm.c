/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linked with --wrap between the objects of libtpms.a: adds the vendor command 0x20000001 and
 * ordinary NV indexes of up to NV_INDEX_MAX bytes. The command borrows the slot of
 * TPM2_NV_ReadLock, which has the same handles (authorisation, NV index), the same authorisation role and no
 * parameters; cpHash and rpHash come from the code in the request, so sessions see 0x20000001.
 * Works with libtpms 0.9 and 0.10.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define CC_NSM_REQUEST 0x20000001u
#define CC_NV_READ_LOCK 0x0000014fu
/* Part 2, 8.9 TPMA_CC: V, two handles, nv, command index 1. */
#define CCA_NSM_REQUEST 0x24400001u

#define RC_FAILURE 0x101u
#define PCRS 24
#define SHA384_SIZE 48
#define NV_INDEX_MAX_STOCK 2048
#define NV_INDEX_MAX 16384
/* Part 2, 13.4 TPMA_NV: TPM_NT field and ORDERLY. */
#define NV_NT_MASK 0x000000f0u
#define NV_ORDERLY 0x04000000u

/* Part 2, 13.5 TPMS_NV_PUBLIC, as libtpms lays it out in memory. */
struct nv_public {
    uint32_t index;
    uint16_t name_alg;
    uint32_t attributes;
    uint16_t policy_size;
    uint8_t policy[64];
    uint16_t data_size;
};

/* First member of libtpms' NV_INDEX. */
struct nv_index {
    struct nv_public public_area;
};

struct nv_read_lock_in {
    uint32_t auth;
    uint32_t index;
};

struct command_list {
    uint32_t count;
    uint32_t attributes[];
};

struct property_list {
    uint32_t count;
    struct {
        uint32_t property;
        uint32_t value;
    } entry[];
};

void __real_ExecuteCommand(uint32_t size, uint8_t *request, uint32_t *response_size,
                           uint8_t **response);
void __wrap_ExecuteCommand(uint32_t size, uint8_t *request, uint32_t *response_size,
                           uint8_t **response);
uint16_t __real_CommandCodeToCommandIndex(uint32_t code);
uint16_t __wrap_CommandCodeToCommandIndex(uint32_t code);
uint32_t __real_TPM2_NV_ReadLock(struct nv_read_lock_in *in);
uint32_t __wrap_TPM2_NV_ReadLock(struct nv_read_lock_in *in);
uint8_t __real_CommandCapGetCCList(uint32_t code, uint32_t count, struct command_list *list);
uint8_t __wrap_CommandCapGetCCList(uint32_t code, uint32_t count, struct command_list *list);
uint8_t __real_TPMCapGetProperties(uint32_t property, uint32_t count, struct property_list *list);
uint8_t __wrap_TPMCapGetProperties(uint32_t property, uint32_t count, struct property_list *list);
uint32_t __real_TPM2B_NV_PUBLIC_Unmarshal(void *target, uint8_t **buffer, int32_t *size);
uint32_t __wrap_TPM2B_NV_PUBLIC_Unmarshal(void *target, uint8_t **buffer, int32_t *size);
uint32_t __real_TPMS_NV_PUBLIC_Unmarshal(struct nv_public *target, uint8_t **buffer,
                                         int32_t *size);
uint32_t __wrap_TPMS_NV_PUBLIC_Unmarshal(struct nv_public *target, uint8_t **buffer,
                                         int32_t *size);
uint32_t __real_NvDefineIndex(struct nv_public *public_area, void *auth);
uint32_t __wrap_NvDefineIndex(struct nv_public *public_area, void *auth);

struct nv_index *NvGetIndexInfo(uint32_t handle, uint32_t *locator);
void NvGetIndexData(struct nv_index *index, uint32_t locator, uint32_t offset, uint16_t size,
                    void *data);
uint32_t NvWriteIndexData(struct nv_index *index, uint32_t offset, uint32_t size, void *data);
uint32_t NvReadAccessChecks(uint32_t auth, uint32_t handle, uint32_t attributes);
uint32_t NvWriteAccessChecks(uint32_t auth, uint32_t handle, uint32_t attributes);

/*
 * The objects of libtpms.a are position-independent for executables only, so in a shared object
 * they cannot reach a variable of libc. stderr is the only one they use.
 */
extern FILE *__real_stderr;
FILE *__wrap_stderr;

static struct {
    int vendor;             /* the command being executed is 0x20000001 */
    uint32_t pcr_count;     /* 24, or 0 without a SHA-384 bank */
    uint8_t pcr[PCRS * SHA384_SIZE];
    uint16_t define_size;   /* size asked for by this NV_DefineSpace, where above the stock limit */
} current;

__attribute__((constructor)) static void
point_stderr(void)
{
    __wrap_stderr = __real_stderr;
}

static uint16_t
get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t
get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void
put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

/* Part 3, 22.4 TPM2_PCR_Read, eight PCRs of the SHA-384 bank; 0 where the bank is not allocated. */
static uint32_t
read_pcrs(uint32_t first, uint8_t *out)
{
    uint8_t request[20] = {0x80, 0x01, 0, 0, 0, 20, 0, 0, 0x01, 0x7e, 0, 0, 0, 1, 0, 0x0c, 3};
    uint8_t buffer[4096];
    uint8_t *response = buffer;
    uint32_t size = sizeof(buffer);
    /* header 10, update counter 4, selection count 4, selection 6, digest count 4 */
    const size_t digests = 28;

    request[17 + first / 8] = 0xff;
    memset(buffer, 0, sizeof(buffer));
    __real_ExecuteCommand(sizeof(request), request, &size, &response);
    if (size != digests + 8 * (2 + SHA384_SIZE) || get32(response + 6) != 0 ||
        get32(response + 24) != 8)
        return 0;
    for (size_t i = 0; i < 8; i++)
        memcpy(out + i * SHA384_SIZE, response + digests + i * (2 + SHA384_SIZE) + 2,
               SHA384_SIZE);
    return 8;
}

void
__wrap_ExecuteCommand(uint32_t size, uint8_t *request, uint32_t *response_size, uint8_t **response)
{
    memset(&current, 0, sizeof(current));
    if (size >= 10 && get32(request + 6) == CC_NSM_REQUEST) {
        for (uint32_t first = 0; first < PCRS; first += 8)
            current.pcr_count += read_pcrs(first, current.pcr + first * SHA384_SIZE);
        current.vendor = 1;
    }
    __real_ExecuteCommand(size, request, response_size, response);
    memset(&current, 0, sizeof(current));
}

uint16_t
__wrap_CommandCodeToCommandIndex(uint32_t code)
{
    if (current.vendor && code == CC_NSM_REQUEST)
        code = CC_NV_READ_LOCK;
    return __real_CommandCodeToCommandIndex(code);
}

static int
transfer(int fd, void *data, size_t size, int out)
{
    uint8_t *p = data;

    while (size > 0) {
        ssize_t n = out ? send(fd, p, size, MSG_NOSIGNAL) : recv(fd, p, size, 0);
        if (n <= 0)
            return -1;
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

/*
 * To the responder: PCR count, request size, PCR values, request.
 * From the responder: TPM response code, answer size, answer (written over *data).
 */
static uint32_t
ask_responder(uint8_t *data, uint32_t size, uint32_t *answer_size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 300};
    const char *path = getenv("NITROTPM_SOCKET");
    uint8_t header[8];
    uint32_t rc = RC_FAILURE;
    int fd = -1;

    if (path == NULL || strlen(path) >= sizeof(address.sun_path))
        goto out;
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        goto out;
    put32(header, current.pcr_count);
    put32(header + 4, size);
    if (transfer(fd, header, sizeof(header), 1) < 0 ||
        transfer(fd, current.pcr, current.pcr_count * SHA384_SIZE, 1) < 0 ||
        transfer(fd, data, size, 1) < 0 || transfer(fd, header, sizeof(header), 0) < 0)
        goto out;
    *answer_size = get32(header + 4);
    if (*answer_size > size || transfer(fd, data, *answer_size, 0) < 0)
        goto out;
    rc = get32(header);
out:
    if (rc == RC_FAILURE)
        fprintf(stderr, "nitrotpm: no answer from the responder at %s\n", path ? path : "(unset)");
    if (fd >= 0)
        close(fd);
    return rc;
}

uint32_t
__wrap_TPM2_NV_ReadLock(struct nv_read_lock_in *in)
{
    static uint8_t data[NV_INDEX_MAX];
    struct nv_index *index;
    uint32_t locator, size, rc, answer_size = 0;

    if (!current.vendor)
        return __real_TPM2_NV_ReadLock(in);

    index = NvGetIndexInfo(in->index, &locator);
    rc = NvReadAccessChecks(in->auth, in->index, index->public_area.attributes);
    if (rc == 0)
        rc = NvWriteAccessChecks(in->auth, in->index, index->public_area.attributes);
    if (rc != 0)
        return rc;
    size = index->public_area.data_size;
    if (size > sizeof(data))
        return RC_FAILURE;
    NvGetIndexData(index, locator, 0, (uint16_t)size, data);
    rc = ask_responder(data, size, &answer_size);
    if (rc == 0)
        rc = NvWriteIndexData(index, 0, answer_size, data);
    return rc;
}

uint8_t
__wrap_CommandCapGetCCList(uint32_t code, uint32_t count, struct command_list *list)
{
    uint8_t more = __real_CommandCapGetCCList(code, count, list);

    if (more || code > CC_NSM_REQUEST)
        return more;
    if (list->count >= count)
        return 1;
    list->attributes[list->count++] = CCA_NSM_REQUEST;
    return 0;
}

/* Part 2, 6.13 TPM_PT; the identity is what NitroTPM reports on EC2. */
uint8_t
__wrap_TPMCapGetProperties(uint32_t property, uint32_t count, struct property_list *list)
{
    uint8_t more = __real_TPMCapGetProperties(property, count, list);

    for (uint32_t i = 0; i < list->count; i++) {
        uint32_t *value = &list->entry[i].value;
        switch (list->entry[i].property) {
        case 0x105: *value = get32((const uint8_t *)"AMZN"); break;
        case 0x106: *value = get32((const uint8_t *)"Nitr"); break;
        case 0x107: *value = get32((const uint8_t *)"oTPM"); break;
        case 0x108: *value = get32((const uint8_t *)"v1.0"); break;
        case 0x109: *value = 0; break;
        case 0x117: *value = NV_INDEX_MAX; break;
        case 0x129: *value += 1; break; /* TOTAL_COMMANDS */
        case 0x12b: *value += 1; break; /* VENDOR_COMMANDS */
        default: break;
        }
    }
    return more;
}

/*
 * Where the marshalled TPMS_NV_PUBLIC at p asks for an ordinary index above the stock limit, lower
 * it to that limit so that the stock check passes, and return the place; else NULL.
 */
static uint8_t *
lower_size(uint8_t *p, int32_t size, uint16_t *ret_wanted)
{
    uint32_t attributes;
    uint16_t policy, wanted;

    if (size < 14)
        return NULL;
    attributes = get32(p + 6);
    policy = get16(p + 10);
    if (size < 14 + policy)
        return NULL;
    p += 12 + policy;
    wanted = get16(p);
    if (wanted <= NV_INDEX_MAX_STOCK || wanted > NV_INDEX_MAX ||
        (attributes & (NV_NT_MASK | NV_ORDERLY)))
        return NULL;
    p[0] = NV_INDEX_MAX_STOCK >> 8;
    p[1] = NV_INDEX_MAX_STOCK & 0xff;
    *ret_wanted = wanted;
    return p;
}

static void
restore_size(uint8_t *p, uint16_t wanted)
{
    p[0] = (uint8_t)(wanted >> 8);
    p[1] = (uint8_t)wanted;
}

/* NV_DefineSpace: the real size comes back in NvDefineIndex, after the last check. */
uint32_t
__wrap_TPM2B_NV_PUBLIC_Unmarshal(void *target, uint8_t **buffer, int32_t *size)
{
    uint8_t *place = NULL;
    uint32_t rc;

    if (*size >= 2)
        place = lower_size(*buffer + 2, *size - 2, &current.define_size);
    rc = __real_TPM2B_NV_PUBLIC_Unmarshal(target, buffer, size);
    if (place != NULL)
        restore_size(place, current.define_size);
    return rc;
}

/* Called from outside its object only when the TPM's stored state is loaded. */
uint32_t
__wrap_TPMS_NV_PUBLIC_Unmarshal(struct nv_public *target, uint8_t **buffer, int32_t *size)
{
    uint16_t wanted = 0;
    uint8_t *place = lower_size(*buffer, *size, &wanted);
    uint32_t rc = __real_TPMS_NV_PUBLIC_Unmarshal(target, buffer, size);

    if (place != NULL) {
        restore_size(place, wanted);
        if (rc == 0 && target->data_size != NV_INDEX_MAX_STOCK)
            return RC_FAILURE;
        target->data_size = wanted;
    }
    return rc;
}

uint32_t
__wrap_NvDefineIndex(struct nv_public *public_area, void *auth)
{
    if (current.define_size != 0) {
        if (public_area->data_size != NV_INDEX_MAX_STOCK)
            return RC_FAILURE;
        public_area->data_size = current.define_size;
    }
    return __real_NvDefineIndex(public_area, auth);
}
