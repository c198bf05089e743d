/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/create.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <openssl/rand.h>

#include "volume/luks_make.h"
#include "volume/volume.h"

#define PAGE 4096u /* what one write replaces as a whole; all but its first sector stays zero */
#define CHUNK 65536u

static enum mu_status make_uuid(char ret[static UUID_TEXT_SIZE], struct mu_error *err)
{
    uint8_t b[16];
    char hex[33];

    if (RAND_bytes(b, sizeof(b)) != 1)
        return mu_fail(err, MU_INTERNAL, "no random numbers");
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* RFC 9562, 5.4 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    hex_encode((struct bytes){b, sizeof(b)}, hex);
    (void)snprintf(ret, UUID_TEXT_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
                   hex + 16, hex + 20);
    return MU_OK;
}

enum mu_status create_identity(struct record *ret, struct secret *ret_volume_key,
                               struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret volume_key = {0};
    struct record record = {.version = 1, .by_instance = true};
    time_t now = time(NULL);
    struct tm utc;

    MU_TRY(make_uuid(record.volume_uuid, err));
    MU_TRY(secret_random(&volume_key, LUKS_VOLUME_KEY_SIZE, err));
    MU_TRY(volume_identity(&volume_key, record.volume_uuid, record.volume_identity, err));
    if (gmtime_r(&now, &utc) == NULL ||
        strftime(record.created, sizeof(record.created), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        return mu_fail(err, MU_CONFIG, "the clock is wrong");
    *ret = record;
    *ret_volume_key = volume_key;
    volume_key = (struct secret){0};
    return MU_OK;
}

enum mu_status create_parse_record(const struct volume_config *config, json_object *token,
                                   struct record *ret, struct mu_error *err)
{
    const char *key_arn = NULL;

    MU_TRY(record_parse_instance_token(token, ret, err));
    MU_TRY(json_string(ret->provider_data, "key_arn", 2048, MU_REFUSE, &key_arn, err));
    if (strcmp(key_arn, config->key_arn) != 0)
        return mu_fail(err, MU_REFUSE,
                       "record made by an instance: its key is %.200s, this image's is %.200s",
                       key_arn, config->key_arn);
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
static enum mu_status check_in_memory(const struct luks_make *make, int fd, struct mu_error *err)
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

static enum mu_status check_header(const struct luks_make *make, const struct buffer *header,
                                   struct mu_error *err)
{
    int fd = memfd_create("new-header", MFD_CLOEXEC);
    enum mu_status status;

    if (fd < 0 || ftruncate(fd, LUKS_MAKE_DATA_OFFSET) != 0)
        status = mu_fail(err, MU_INTERNAL, "new header: %s", strerror(errno));
    else
        status = write_at("new header", fd, 0, buffer_view(header), err);
    if (status == MU_OK && check_in_memory(make, fd, err) != MU_OK)
        status = mu_context(err, "new header");
    if (fd >= 0)
        (void)close(fd);
    return status;
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
        return mu_fail(err, MU_REFUSE, "%s: reads otherwise than it was written", device);
    return luks_header_check(&found, NULL, err);
}

enum mu_status create_volume(const char *device, struct blank *blank, const struct record *record,
                             const struct secret *volume_key, const struct secret *key,
                             struct mu_error *err)
{
    MU_CLEANUP(string_free) char *token = NULL;
    MU_CLEANUP(buffer_free) struct buffer header = {0};
    struct luks_make make = {.uuid = record->volume_uuid, .volume_key = volume_key, .key = key};

    if (blank->fd < 0 || blank->state == BLANK_LUKS)
        return mu_fail(err, MU_INTERNAL, "%s: is not known to be blank", device);
    if (blank->size < 2ull * LUKS_MAKE_DATA_OFFSET)
        return mu_fail(err, MU_REFUSE, "%s: a volume needs at least %u bytes", device,
                       2 * LUKS_MAKE_DATA_OFFSET);
    make.sector_size = blank->size % 4096 == 0 ? 4096 : 512;
    MU_TRY(record_make_instance_token(record, key, &token, err));
    make.token = token;
    MU_TRY(luks_make_header(&make, &header, err));
    MU_TRY(check_header(&make, &header, err));
    MU_TRY(write_header(device, blank->fd, &header, err));
    MU_TRY(read_back(device, &header, err));
    blank_close(blank); /* device-mapper needs it for itself */
    return MU_OK;
}
