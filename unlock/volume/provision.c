/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/provision.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <uuid.h>

#include "base/file.h"
#include "volume/luks_format.h"
#include "volume/open.h"

#define PAGE 4096u /* what one write replaces as a whole; all but its first sector stays zero */
#define CHUNK 65536u

enum mu_status provision_record(const char *name, const struct blank *blank, struct record *ret,
                                struct secret *ret_volume_key, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret volume_key = {0};
    struct record record = {.version = 1, .by_instance = true};
    struct volume_geometry *geometry = &record.geometry;
    uuid_t uuid;

    (void)snprintf(record.volume_name, sizeof(record.volume_name), "%s", name);
    geometry->data_offset = LUKS_DATA_OFFSET;
    geometry->sector_size = blank->size % 4096 == 0 ? 4096 : 512;
    geometry->device_size = blank->size;
    uuid_generate_random(uuid);
    uuid_unparse_lower(uuid, record.volume_uuid);
    MU_TRY(secret_random(&volume_key, LUKS_VOLUME_KEY_SIZE, err));
    MU_TRY(volume_identity(&volume_key, record.volume_uuid, record.volume_identity, err));
    MU_TRY(record_date(&record, err));
    *ret = record;
    *ret_volume_key = MU_TAKE(volume_key);
    return MU_OK;
}

static enum mu_status write_at(const char *device, int fd, uint64_t offset, struct bytes from,
                               struct mu_error *err)
{
    size_t done = 0;

    while (done < from.len) {
        size_t len = from.len - done < CHUNK ? from.len - done : CHUNK;
        ssize_t n = pwrite(fd, from.data + done, len, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return mu_fail(err, MU_CONFIG, "%s: cannot be written at %llu: %s", device,
                           (unsigned long long)offset + done, strerror(errno));
        done += (size_t)n;
    }
    if (fsync(fd) != 0)
        return mu_fail(err, MU_CONFIG, "%s: cannot be written: %s", device, strerror(errno));
    return MU_OK;
}

/* Opens as it will at the next boot, by the same code: before anything is written. */
static enum mu_status check_in_memory(const struct luks_new *make, int fd, struct mu_error *err)
{
    MU_CLEANUP(luks_header_free) struct luks_header found = {.memfd = -1};
    MU_CLEANUP(secret_free) struct secret volume_key = {0};
    json_object *token = NULL;
    char path[32];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    MU_TRY(luks_header_load(path, &found, err));
    MU_TRY(luks_header_check(&found, NULL, err));
    MU_TRY(luks_header_record_token(&found, &token, err));
    MU_TRY(luks_header_load_keyslot(&found, 0, err));
    MU_TRY(volume_open_keyslot(&found, 0, make->key, &volume_key, err));
    if (!bytes_equal(secret_view(&volume_key), secret_view(make->volume_key)))
        return mu_fail(err, MU_INTERNAL, "the new key slot holds another key");
    return MU_OK;
}

/* What is to be written of it. */
static enum mu_status read_header(int fd, struct buffer *ret, struct mu_error *err)
{
    MU_TRY(buffer_alloc(ret, BLANK_HEADER_END, err));
    for (size_t done = 0; done < ret->len;) {
        ssize_t n = pread(fd, ret->data + done, ret->len - done, (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return mu_fail(err, MU_REFUSE, "new header: cannot be read back");
        done += (size_t)n;
    }
    return MU_OK;
}

/* Each step is on the disk before the next begins. */
static enum mu_status write_header(const char *device, int fd, const struct buffer *header,
                                   struct mu_error *err)
{
    uint8_t claim[BLANK_CLAIM_SIZE];

    blank_claim(claim);
    MU_TRY(write_at(device, fd, 0, (struct bytes){claim, sizeof(claim)}, err));
    MU_TRY(
        write_at(device, fd, PAGE, (struct bytes){header->data + PAGE, header->len - PAGE}, err));
    return write_at(device, fd, 0, (struct bytes){header->data, PAGE}, err);
}

static enum mu_status read_back(const char *device, const struct buffer *header,
                                struct mu_error *err)
{
    MU_CLEANUP(luks_header_free) struct luks_header found = {.memfd = -1};

    MU_TRY(luks_header_load(device, &found, err));
    if (!bytes_equal(buffer_view(&found.primary),
                     (struct bytes){header->data, BLANK_HEADER_COPY}) ||
        !bytes_equal(buffer_view(&found.secondary),
                     (struct bytes){header->data + BLANK_HEADER_COPY, BLANK_HEADER_COPY}))
        return mu_fail(err, MU_REFUSE, "%s: reads back different from what was written", device);
    return luks_header_check(&found, NULL, err);
}

enum mu_status provision_volume(struct blank *blank, const struct record *record,
                                const struct secret *volume_key, const struct secret *key,
                                struct mu_error *err)
{
    MU_CLEANUP(string_free) char *token = NULL;
    MU_CLEANUP(buffer_free) struct buffer header = {0};
    MU_CLEANUP(fd_close) int memfd = -1;
    struct luks_new make = {.uuid = record->volume_uuid,
                            .volume_key = volume_key,
                            .key = key,
                            .sector_size = (unsigned)record->geometry.sector_size};
    const char *device = blank->device;

    if (!blank_is_open(blank) || blank->state == BLANK_LUKS)
        return mu_fail(err, MU_INTERNAL, "a device that is not known to be blank");
    if (blank->size < 2ull * LUKS_DATA_OFFSET)
        return mu_fail(err, MU_REFUSE, "%s: a volume needs at least %u bytes", device,
                       2 * LUKS_DATA_OFFSET);
    MU_TRY(record_make_instance_token(record, key, &token, err));
    make.token = token;
    MU_TRY(luks_format(&make, &memfd, err));
    if (check_in_memory(&make, memfd, err) != MU_OK)
        return mu_context(err, "new header");
    MU_TRY(read_header(memfd, &header, err));
    MU_TRY(write_header(device, blank->fd, &header, err));
    MU_TRY(read_back(device, &header, err));
    blank_close(blank); /* device-mapper needs it for itself */
    return MU_OK;
}
