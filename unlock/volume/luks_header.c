/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/luks_header.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/file.h"

/* LUKS2 On-Disk Format Specification, 2.1 "Binary Header" */
#define BINARY_SIZE 4096u
#define HEADER_SIZE_MIN (16u << 10)
#define HEADER_SIZE_MAX (4u << 20)
#define KEYSLOTS_SIZE_MAX (128u << 20)
#define CHECKSUM_OFFSET 448u
#define CHECKSUM_SIZE 64u
#define SHA256_SIZE 32u

#define SEALS (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

static const uint8_t magic_primary[6] = {'L', 'U', 'K', 'S', 0xba, 0xbe};
static const uint8_t magic_secondary[6] = {'S', 'K', 'U', 'L', 0xba, 0xbe};

struct binary_header {
    uint8_t magic[6];
    uint16_t version;
    uint64_t size;
    uint64_t seqid;
    struct bytes checksum_alg;
    struct bytes uuid;
    uint64_t offset;
};

void luks_header_free(struct luks_header *header)
{
    if (header->device != NULL)
        fd_close(&header->memfd);
    free(header->device);
    buffer_free(&header->primary);
    buffer_free(&header->secondary);
    json_free(&header->json);
    *header = (struct luks_header){.memfd = -1};
}

bool luks_number(const char *text, uint64_t *ret)
{
    uint64_t value = 0;

    if (*text == '\0' || (text[0] == '0' && text[1] != '\0'))
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || value > (UINT64_MAX - 9) / 10)
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *ret = value;
    return true;
}

static enum mu_status read_at(int fd, const char *device, uint64_t offset, struct buffer *to,
                              struct mu_error *err)
{
    size_t done = 0;

    while (done < to->len) {
        ssize_t n = pread(fd, to->data + done, to->len - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mu_fail(err, MU_RETRY, "%s: cannot read at %llu: %s", device,
                           (unsigned long long)offset, strerror(errno));
        if (n == 0)
            return mu_fail(err, MU_REFUSE, "%s: ends at %llu, within its LUKS2 header", device,
                           (unsigned long long)offset + done);
        done += (size_t)n;
    }
    return MU_OK;
}

static enum mu_status write_at(int fd, uint64_t offset, struct bytes from, struct mu_error *err)
{
    size_t done = 0;

    while (done < from.len) {
        ssize_t n = pwrite(fd, from.data + done, from.len - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return mu_fail(err, MU_INTERNAL, "header copy: %s", strerror(errno));
        done += (size_t)n;
    }
    return MU_OK;
}

enum mu_status luks_device_size(int fd, const char *device, uint64_t *ret, struct mu_error *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return mu_fail(err, MU_CONFIG, "%s: %s", device, strerror(errno));
    *ret = (uint64_t)st.st_size;
    if (S_ISREG(st.st_mode))
        return MU_OK;
    if (!S_ISBLK(st.st_mode))
        return mu_fail(err, MU_CONFIG, "%s: neither a block device nor an image file", device);
    if (ioctl(fd, BLKGETSIZE64, ret) != 0)
        return mu_fail(err, MU_RETRY, "%s: cannot tell its size: %s", device, strerror(errno));
    return MU_OK;
}

static enum mu_status open_device(const char *device, int *ret, uint64_t *ret_size,
                                  struct mu_error *err)
{
    MU_CLEANUP(fd_close) int fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        bool absent = errno == ENOENT || errno == ENXIO || errno == ENODEV;

        return mu_fail(err, absent ? MU_RETRY : MU_CONFIG, "%s: %s", device, strerror(errno));
    }
    MU_TRY(luks_device_size(fd, device, ret_size, err));
    *ret = fd;
    fd = -1;
    return MU_OK;
}

static bool parse_binary(struct bytes copy, struct binary_header *ret)
{
    struct reader r = reader_of(copy);

    reader_copy(&r, ret->magic, sizeof(ret->magic));
    ret->version = reader_be16(&r);
    ret->size = reader_be64(&r);
    ret->seqid = reader_be64(&r);
    (void)reader_take(&r, 48); /* label */
    ret->checksum_alg = reader_take(&r, 32);
    (void)reader_take(&r, 64); /* salt */
    ret->uuid = reader_take(&r, 40);
    (void)reader_take(&r, 48); /* subsystem */
    ret->offset = reader_be64(&r);
    return !r.failed;
}

static bool header_size_allowed(uint64_t size)
{
    return size >= HEADER_SIZE_MIN && size <= HEADER_SIZE_MAX && (size & (size - 1)) == 0;
}

/* A field of fixed size that holds text, a terminating zero and nothing but zeros after it. */
static bool field_text(struct bytes field, size_t *ret_len)
{
    size_t len = strnlen((const char *)field.data, field.len);

    if (len == field.len || !bytes_all_zero((struct bytes){field.data + len, field.len - len}))
        return false;
    *ret_len = len;
    return true;
}

static enum mu_status check_checksum(struct bytes copy, const char *what, struct mu_error *err)
{
    uint8_t digest[SHA256_SIZE];
    struct bytes stored = {copy.data + CHECKSUM_OFFSET, CHECKSUM_SIZE};
    MU_CLEANUP(buffer_free) struct buffer blank = {0};

    MU_TRY(buffer_copy(&blank, copy, err));
    memset(blank.data + CHECKSUM_OFFSET, 0, CHECKSUM_SIZE);
    if (EVP_Digest(blank.data, blank.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return mu_fail(err, MU_INTERNAL, "%s header: sha256 failed in OpenSSL", what);
    if (!bytes_equal((struct bytes){digest, sizeof(digest)},
                     (struct bytes){stored.data, sizeof(digest)}) ||
        !bytes_all_zero(
            (struct bytes){stored.data + sizeof(digest), CHECKSUM_SIZE - sizeof(digest)}))
        return mu_fail(err, MU_REFUSE, "%s header: bad checksum", what);
    return MU_OK;
}

/* A damaged primary header is still refused; this only tells its owner what can be done. */
static enum mu_status fail_without_primary(int fd, const char *device, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer start = {0};
    struct mu_error ignored;

    MU_TRY(buffer_alloc(&start, sizeof(magic_secondary), err));
    for (uint64_t at = HEADER_SIZE_MIN; at <= HEADER_SIZE_MAX; at *= 2)
        if (read_at(fd, device, at, &start, &ignored) == MU_OK &&
            memcmp(start.data, magic_secondary, start.len) == 0)
            return mu_fail(err, MU_REFUSE,
                           "%s: the primary LUKS2 header is gone but there is a secondary one at "
                           "%llu: `cryptsetup repair` restores it, on a machine you trust",
                           device, (unsigned long long)at);
    return mu_fail(err, MU_REFUSE, "%s: not a LUKS2 volume", device);
}

static enum mu_status check_copy(struct bytes copy, const uint8_t magic[static 6], uint64_t offset,
                                 const char *what, struct mu_error *err)
{
    struct binary_header h;
    size_t alg_len = 0;
    size_t json_len = 0;

    if (!parse_binary(copy, &h) || memcmp(h.magic, magic, sizeof(h.magic)) != 0)
        return mu_fail(err, MU_REFUSE, "%s header: bad magic", what);
    if (h.version != 2)
        return mu_fail(err, MU_REFUSE, "%s header: version %u instead of 2", what, h.version);
    if (h.size != copy.len)
        return mu_fail(err, MU_REFUSE, "%s header: size %llu instead of %zu", what,
                       (unsigned long long)h.size, copy.len);
    if (h.offset != offset)
        return mu_fail(err, MU_REFUSE, "%s header: says it is at %llu but is at %llu", what,
                       (unsigned long long)h.offset, (unsigned long long)offset);
    if (!field_text(h.checksum_alg, &alg_len) ||
        strcmp((const char *)h.checksum_alg.data, "sha256") != 0)
        return mu_fail(err, MU_REFUSE, "%s header: checksum algorithm is not sha256", what);
    MU_TRY(check_checksum(copy, what, err));
    if (!field_text((struct bytes){copy.data + BINARY_SIZE, copy.len - BINARY_SIZE}, &json_len))
        return mu_fail(err, MU_REFUSE, "%s header: the JSON area is not padded with zeros", what);
    return MU_OK;
}

/* Both whole copies, each sound in itself. */
static enum mu_status read_copies(int fd, struct luks_header *h, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer start = {0};
    struct binary_header binary;

    if (h->geometry.device_size < BINARY_SIZE)
        return mu_fail(err, MU_REFUSE, "%s: too small for a LUKS2 volume", h->device);
    MU_TRY(buffer_alloc(&start, BINARY_SIZE, err));
    MU_TRY(read_at(fd, h->device, 0, &start, err));
    if (!parse_binary(buffer_view(&start), &binary) ||
        memcmp(binary.magic, magic_primary, sizeof(magic_primary)) != 0)
        return fail_without_primary(fd, h->device, err);
    if (binary.version == 1)
        return mu_fail(err, MU_REFUSE,
                       "%s: LUKS version 1; `cryptsetup convert --type luks2` makes it version 2",
                       h->device);
    if (!header_size_allowed(binary.size))
        return mu_fail(err, MU_REFUSE, "%s: primary header: size %llu is not allowed", h->device,
                       (unsigned long long)binary.size);
    h->header_size = binary.size;
    h->seqid = binary.seqid;
    MU_TRY(buffer_alloc(&h->primary, (size_t)binary.size, err));
    MU_TRY(buffer_alloc(&h->secondary, (size_t)binary.size, err));
    MU_TRY(read_at(fd, h->device, 0, &h->primary, err));
    MU_TRY(read_at(fd, h->device, h->header_size, &h->secondary, err));
    if (check_copy(buffer_view(&h->primary), magic_primary, 0, "primary", err) != MU_OK ||
        check_copy(buffer_view(&h->secondary), magic_secondary, h->header_size, "secondary", err) !=
            MU_OK)
        return mu_context(err, "%s", h->device);
    return MU_OK;
}

/* libuuid's own form, since the record and the volume identity are bound to this text. */
static enum mu_status parse_uuid(struct luks_header *h, struct mu_error *err)
{
    static const char digits[] = "0123456789abcdef";
    struct binary_header binary;
    size_t len = 0;
    bool good = parse_binary(buffer_view(&h->primary), &binary) && field_text(binary.uuid, &len) &&
                len == UUID_TEXT_SIZE - 1;

    for (size_t i = 0; good && i < len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = (char)binary.uuid.data[i];

        good = dash ? c == '-' : memchr(digits, c, sizeof(digits) - 1) != NULL;
    }
    if (!good)
        return mu_fail(err, MU_REFUSE, "%s: the UUID in the header is malformed", h->device);
    memcpy(h->uuid, binary.uuid.data, len + 1);
    return MU_OK;
}

/* NULL if it is missing. */
static json_object *member_at(json_object *object, const char *const path[3])
{
    for (size_t i = 0; i < 3 && path[i] != NULL; i++)
        if (!json_object_is_type(object, json_type_object) ||
            !json_object_object_get_ex(object, path[i], &object))
            return NULL;
    return object;
}

static uint64_t number_at(json_object *json, const char *const path[3])
{
    json_object *text = member_at(json, path);
    uint64_t value = 0;

    if (!json_object_is_type(text, json_type_string) ||
        !luks_number(json_object_get_string(text), &value))
        return 0;
    return value;
}

/* The one number that is not text. */
static uint64_t sector_size(json_object *json)
{
    static const char *const path[] = {"segments", "0", "sector_size"};
    json_object *size = member_at(json, path);

    return json_object_is_type(size, json_type_int) ? json_object_get_uint64(size) : 0;
}

bool luks_header_is_copy(const struct luks_header *header)
{
    return header->geometry.device_size == 2 * header->header_size + header->keyslots_size;
}

static enum mu_status make_copy(struct luks_header *h, struct mu_error *err)
{
    h->memfd = memfd_create("luks-header", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (h->memfd < 0 || ftruncate(h->memfd, (off_t)(2 * h->header_size + h->keyslots_size)) != 0)
        return mu_fail(err, MU_INTERNAL, "header copy: %s", strerror(errno));
    MU_TRY(write_at(h->memfd, 0, buffer_view(&h->primary), err));
    return write_at(h->memfd, h->header_size, buffer_view(&h->secondary), err);
}

enum mu_status luks_header_load(const char *device, struct luks_header *ret, struct mu_error *err)
{
    MU_CLEANUP(luks_header_free) struct luks_header h = {.memfd = -1};
    MU_CLEANUP(fd_close) int fd = -1;

    MU_TRY(string_set(&h.device, device, err));
    MU_TRY(open_device(device, &fd, &h.geometry.device_size, err));
    MU_TRY(read_copies(fd, &h, err));
    MU_TRY(parse_uuid(&h, err));
    /* check_copy() saw the zero that ends the text */
    MU_TRY(json_parse((struct bytes){h.primary.data + BINARY_SIZE,
                                     strlen((const char *)h.primary.data + BINARY_SIZE)},
                      device, MU_REFUSE, &h.json, err));
    h.keyslots_size = number_at(h.json, (const char *const[]){"config", "keyslots_size", NULL});
    if (h.keyslots_size > KEYSLOTS_SIZE_MAX)
        return mu_fail(err, MU_REFUSE, "%s: a key slot area of %llu bytes is too large", device,
                       (unsigned long long)h.keyslots_size);
    h.geometry.data_offset = number_at(h.json, (const char *const[]){"segments", "0", "offset"});
    h.geometry.sector_size = sector_size(h.json);
    MU_TRY(make_copy(&h, err));
    *ret = h;
    h = (struct luks_header){.memfd = -1};
    return MU_OK;
}

enum mu_status luks_header_record_token(const struct luks_header *header, json_object **ret,
                                        struct mu_error *err)
{
    json_object *tokens = NULL;
    json_object *found = NULL;
    size_t count = 0;

    MU_TRY(json_member(header->json, "tokens", json_type_object, MU_REFUSE, &tokens, err));
    json_object_object_foreach(tokens, id, token)
    {
        json_object *type = NULL;

        (void)id;
        if (json_object_object_get_ex(token, "type", &type) &&
            json_object_is_type(type, json_type_string) &&
            strcmp(json_object_get_string(type), RECORD_TOKEN_TYPE) == 0) {
            found = token;
            count++;
        }
    }
    if (count == 0)
        return mu_fail(err, MU_REFUSE, "%s: no enrolment record; `muctl enroll` writes one",
                       header->device);
    if (count > 1)
        return mu_fail(err, MU_REFUSE, "%s: %zu enrolment records instead of one", header->device,
                       count);
    *ret = found;
    return MU_OK;
}

enum mu_status luks_header_load_keyslot(struct luks_header *header, int keyslot,
                                        struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer area = {0};
    MU_CLEANUP(fd_close) int fd = -1;
    json_object *slots = NULL;
    json_object *slot = NULL;
    uint64_t area_start = 2 * header->header_size;
    uint64_t area_end = area_start + header->keyslots_size;
    uint64_t offset;
    uint64_t size;
    uint64_t device_size;
    char name[16];

    (void)snprintf(name, sizeof(name), "%d", keyslot);
    MU_TRY(json_member(header->json, "keyslots", json_type_object, MU_REFUSE, &slots, err));
    if (!json_object_object_get_ex(slots, name, &slot))
        return mu_fail(err, MU_REFUSE, "%s: there is no key slot %d", header->device, keyslot);
    offset = number_at(slot, (const char *const[]){"area", "offset", NULL});
    size = number_at(slot, (const char *const[]){"area", "size", NULL});
    if (offset < area_start || offset > area_end || size > area_end - offset)
        return mu_fail(err, MU_REFUSE, "%s: key slot %d is outside the key slot area",
                       header->device, keyslot);
    MU_TRY(open_device(header->device, &fd, &device_size, err));
    MU_TRY(buffer_alloc(&area, (size_t)size, err));
    MU_TRY(read_at(fd, header->device, offset, &area, err));
    MU_TRY(write_at(header->memfd, offset, buffer_view(&area), err));
    if (fcntl(header->memfd, F_ADD_SEALS, SEALS) != 0)
        return mu_fail(err, MU_INTERNAL, "header copy: %s", strerror(errno));
    return MU_OK;
}
