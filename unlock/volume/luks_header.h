/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_LUKS_HEADER_H
#define MU_VOLUME_LUKS_HEADER_H

#include "base/json.h"
#include "volume/record.h"

#define PENDING_TOKEN_TYPE "measured-unlock-pending"
#define LUKS_KEYSLOTS_MAX 32
#define LUKS_VOLUME_KEY_SIZE 64

/* A LUKS2 header (LUKS2 On-Disk Format Specification 1.1.x) that is copied once, and from then on
 * is used from memory only. */
struct luks_header {
    char *device; /* where it came from */
    char uuid[UUID_TEXT_SIZE];
    uint64_t seqid;
    uint64_t header_size;             /* bytes of one copy: binary header and JSON area */
    uint64_t keyslots_size;           /* bytes of the key slot area; 0 if the JSON does not say */
    struct volume_geometry geometry;  /* of segment 0; zeros for what the JSON does not say */
    struct buffer primary, secondary; /* whole copies */
    json_object *json;                /* of the primary copy */
    int memfd; /* sparse copy of both headers and of the key slot area asked for, for libcryptsetup
                  (/proc/self/fd/N) */
};

/* One rule of the header policy, and its result. */
struct header_rule {
    const char *name; /* "segment-cipher", ... */
    bool ok;
    char detail[160];
};
#define HEADER_RULES_MAX 40
struct header_report {
    size_t count;
    struct header_rule rule[HEADER_RULES_MAX];
};

/* Reads both copies of the header of a block device or image file. MU_REFUSE if neither is a LUKS2
 * header or they are malformed (magic, size, checksum, JSON); MU_RETRY if the device is not there.
 */
enum mu_status luks_header_load(const char *device, struct luks_header *ret,
                                struct mu_error *err) MU_MUST_CHECK;
void luks_header_free(struct luks_header *header);
/* Of an open block device or image file. */
enum mu_status luks_device_size(int fd, const char *device, uint64_t *ret,
                                struct mu_error *err) MU_MUST_CHECK;
/* A file that `cryptsetup luksHeaderBackup` wrote: it ends with the key slot area. */
bool luks_header_is_copy(const struct luks_header *header);

/* Applies every rule of docs/develop/design.md, "Header policy". MU_OK or MU_REFUSE with the first
 * failed rule's name; the report (may be NULL) has them all. */
enum mu_status luks_header_check(const struct luks_header *header, struct header_report *ret_report,
                                 struct mu_error *err) MU_MUST_CHECK;

/* The token of our type; MU_REFUSE if there is none or more than one. Borrowed. */
enum mu_status luks_header_record_token(const struct luks_header *header, json_object **ret,
                                        struct mu_error *err) MU_MUST_CHECK;

/* Copies the area of that key slot from the device into the memory copy and seals the copy. Call
 * this once for each header, and only after luks_header_check. */
enum mu_status luks_header_load_keyslot(struct luks_header *header, int keyslot,
                                        struct mu_error *err) MU_MUST_CHECK;

/* The numbers of LUKS2 JSON are text: "0" or digits without a leading zero, and nothing else. */
bool luks_number(const char *text, uint64_t *ret);

#endif
