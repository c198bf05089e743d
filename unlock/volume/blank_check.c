/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/blank_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/fs.h>

#include "volume/luks_header.h"

#define KIB 1024ull
#define MIB (KIB * KIB)
#define TIB (MIB * MIB)
#define WHOLE_MAX (512 * MIB) /* up to here all of it is read... */
#define ENDS (64 * MIB)       /* ...and else this much of both ends */
#define SAMPLE (16 * KIB)     /* of every other place */
#define SAMPLES 2048
#define GRID (128 * MIB) /* an ext4 block group of 4 KiB blocks; a multiple of most alignments */
#define CHUNK (256 * KIB)
#define PAGE 4096u

static const char claim_text[] =
    "measured-unlock: a volume is being made on this device; there is no data on it\n";

static const char luks_magic[] = "LUKS\xba\xbe";

/* Only for the message: whatever is not zero is refused, with a name or without. */
static const struct {
    uint32_t offset;
    const char *magic, *name;
} known[] = {
    {0, luks_magic, "a LUKS header"},
    {0, "XFSB", "an XFS file system"},
    {0, "hsqs", "a squashfs file system"},
    {3, "NTFS", "an NTFS file system"},
    {54, "FAT", "a FAT file system"},
    {82, "FAT32", "a FAT file system"},
    {510, "\x55\xaa", "a partition table or boot sector"},
    {512, "EFI PART", "a GPT partition table"},
    {512, "LABELONE", "an LVM physical volume"},
    {1080, "\x53\xef", "an ext2, ext3 or ext4 file system"},
    {1024, "\x10\x20\xf5\xf2", "an F2FS file system"},
    {4086, "SWAPSPACE2", "swap space"},
    {4096, "\xfc\x4e\x2b\xa9", "a Linux RAID member"},
    {16384, "SKUL\xba\xbe", "the second copy of a LUKS header"},
    {32769, "CD001", "an ISO 9660 file system"},
    {65600, "_BHRfS_M", "a btrfs file system"},
};

struct reading {
    const char *device;
    int fd;
    uint64_t size;
    struct deadline deadline;
    uint8_t *chunk;
};

void blank_claim(uint8_t ret[static BLANK_CLAIM_SIZE])
{
    memset(ret, 0, BLANK_CLAIM_SIZE);
    memcpy(ret, claim_text, sizeof(claim_text));
}

void blank_close(struct blank *blank)
{
    if (blank->fd >= 0)
        (void)close(blank->fd);
    blank->fd = -1;
}

void blank_free(struct blank *blank)
{
    blank_close(blank);
    string_free(&blank->device);
}

/* ---- reading ---- */

static enum mu_status read_into(const struct reading *r, uint64_t offset, size_t len,
                                struct mu_error *err)
{
    size_t done = 0;

    if (deadline_passed(r->deadline))
        return mu_fail(err, MU_RETRY, "%s: not read to the end in time", r->device);
    while (done < len) {
        ssize_t n = pread(r->fd, r->chunk + done, len - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return mu_fail(err, MU_REFUSE, "%s: cannot be read at %llu, so it may hold data: %s",
                           r->device, (unsigned long long)offset + done,
                           n < 0 ? strerror(errno) : "end of device");
        done += (size_t)n;
    }
    return MU_OK;
}

/* The name of what was found, if it has one. */
static const char *name_of(const struct reading *r)
{
    struct mu_error ignored;

    for (size_t i = 0; i < MU_COUNT(known); i++) {
        size_t len = strlen(known[i].magic);

        if (known[i].offset + len <= r->size &&
            read_into(r, known[i].offset, len, &ignored) == MU_OK &&
            memcmp(r->chunk, known[i].magic, len) == 0)
            return known[i].name;
    }
    return "data";
}

static enum mu_status fail_not_blank(const struct reading *r, uint64_t offset, struct mu_error *err)
{
    const char *name = name_of(r);

    return mu_fail(err, MU_REFUSE,
                   "%s is not blank: byte %llu is not zero, there is %s on it; nothing was written",
                   r->device, (unsigned long long)offset, name);
}

/* [from, to), as far as the device goes. */
static enum mu_status zeros(const struct reading *r, uint64_t from, uint64_t to,
                            struct mu_error *err)
{
    if (to > r->size)
        to = r->size;
    while (from < to) {
        size_t len = to - from < CHUNK ? (size_t)(to - from) : CHUNK;

        MU_TRY(read_into(r, from, len, err));
        if (!bytes_all_zero((struct bytes){r->chunk, len})) {
            size_t i = 0;

            while (r->chunk[i] == 0)
                i++;
            return fail_not_blank(r, from + i, err);
        }
        from += len;
    }
    return MU_OK;
}

static enum mu_status sample(const struct reading *r, uint64_t at, struct mu_error *err)
{
    return zeros(r, at, at + SAMPLE, err);
}

/* ---- places ---- */

/* Backup superblocks of ext2 to ext4 are in the block groups 1 and 3^n, 5^n, 7^n ("sparse_super"),
 * and a group has as many blocks as a block has bits. */
static enum mu_status ext_backups(const struct reading *r, struct mu_error *err)
{
    for (uint64_t block = KIB; block <= 64 * KIB; block *= 2) {
        uint64_t group = block * block * 8;

        for (uint64_t base = 3; base <= 7; base += 2)
            for (uint64_t n = 1; n < r->size / group + 1; n *= base)
                MU_TRY(sample(r, n * group, err));
    }
    return MU_OK;
}

/* Allocation groups of XFS: four of them, or of 1 TiB each. Mirrors of btrfs: 64 MiB, 256 GiB. */
static enum mu_status other_copies(const struct reading *r, struct mu_error *err)
{
    uint64_t quarter = (r->size / PAGE + 3) / 4 * PAGE;

    for (uint64_t i = 1; i < 4; i++)
        MU_TRY(sample(r, i * quarter, err));
    for (uint64_t at = TIB; at < r->size; at += TIB)
        MU_TRY(sample(r, at, err));
    MU_TRY(sample(r, ENDS, err));
    return sample(r, TIB / 4, err);
}

static enum mu_status grid(const struct reading *r, struct mu_error *err)
{
    uint64_t step = (r->size / SAMPLES / GRID + 1) * GRID;

    for (uint64_t at = step; at < r->size; at += step)
        MU_TRY(sample(r, at, err));
    return sample(r, (r->size - 1) / GRID * GRID, err);
}

static enum mu_status rest(const struct reading *r, uint64_t from, struct mu_error *err)
{
    if (r->size <= WHOLE_MAX)
        return zeros(r, from, r->size, err);
    MU_TRY(zeros(r, from, ENDS, err));
    MU_TRY(zeros(r, r->size - ENDS, r->size, err));
    MU_TRY(ext_backups(r, err));
    MU_TRY(other_copies(r, err));
    return grid(r, err);
}

/* ---- what an interrupted run left ---- */

/* JSON or nothing. */
static enum mu_status check_text(const struct reading *r, uint64_t from, uint64_t to,
                                 struct mu_error *err)
{
    MU_TRY(read_into(r, from, (size_t)(to - from), err));
    for (size_t i = 0; i < to - from; i++)
        if (r->chunk[i] != 0 && (r->chunk[i] < ' ' || r->chunk[i] > '~'))
            return fail_not_blank(r, from + i, err);
    return MU_OK;
}

/* The claim, then whatever part of a header was written behind it. A file system, RAID or volume
 * group that somebody made here since would not look like one. */
static enum mu_status check_claimed(const struct reading *r, struct mu_error *err)
{
    static const uint8_t second[6] = {'S', 'K', 'U', 'L', 0xba, 0xbe};

    MU_TRY(zeros(r, BLANK_CLAIM_SIZE, PAGE, err));
    MU_TRY(check_text(r, PAGE, BLANK_HEADER_COPY, err));
    MU_TRY(read_into(r, BLANK_HEADER_COPY, sizeof(second), err));
    if (memcmp(r->chunk, second, sizeof(second)) != 0)
        MU_TRY(zeros(r, BLANK_HEADER_COPY, (uint64_t)BLANK_HEADER_COPY + PAGE, err));
    MU_TRY(check_text(r, (uint64_t)BLANK_HEADER_COPY + PAGE, 2ull * BLANK_HEADER_COPY, err));
    return rest(r, BLANK_HEADER_END, err);
}

static enum mu_status check(const struct reading *r, enum blank_state *ret, struct mu_error *err)
{
    uint8_t claim[BLANK_CLAIM_SIZE];

    blank_claim(claim);
    if (r->size < 2ull * BLANK_HEADER_END)
        return mu_fail(err, MU_REFUSE, "%s: %llu bytes are too few for a volume", r->device,
                       (unsigned long long)r->size);
    MU_TRY(read_into(r, 0, BLANK_CLAIM_SIZE, err));
    if (memcmp(r->chunk, claim, sizeof(claim)) == 0) {
        *ret = BLANK_CLAIMED;
        return check_claimed(r, err);
    }
    *ret = BLANK_EMPTY;
    return rest(r, 0, err);
}

/* ---- the device ---- */

static enum mu_status check_writable(const char *device, int fd, struct mu_error *err)
{
    int read_only = 0;

    /* ENOTTY is what an image file answers. */
    if (ioctl(fd, BLKROGET, &read_only) != 0 && errno != ENOTTY)
        return mu_fail(err, MU_RETRY, "%s: cannot tell whether it is read-only: %s", device,
                       strerror(errno));
    return read_only == 0 ? MU_OK : mu_fail(err, MU_REFUSE, "%s: is read-only", device);
}

static enum mu_status fail_to_open(const char *device, struct mu_error *err)
{
    switch (errno) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
        return mu_fail(err, MU_RETRY, "%s: %s", device, strerror(errno));
    case EBUSY:
        return mu_fail(err, MU_REFUSE, "%s: is in use: mounted, or part of another device", device);
    case EROFS:
    case EACCES:
        return mu_fail(err, MU_REFUSE, "%s: %s", device, strerror(errno));
    default:
        return mu_fail(err, MU_CONFIG, "%s: %s", device, strerror(errno));
    }
}

/* Without O_EXCL and read-only, so that an existing volume is not disturbed. */
static enum mu_status peek(const char *device, bool *ret_luks, struct mu_error *err)
{
    MU_CLEANUP(blank_close)
    struct blank blank = {.fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    uint8_t start[6] = {0};
    struct reading r = {.device = device, .fd = blank.fd, .chunk = start};

    if (blank.fd < 0)
        return fail_to_open(device, err);
    r.deadline.at_us = UINT64_MAX;
    MU_TRY(read_into(&r, 0, sizeof(start), err));
    *ret_luks = memcmp(start, luks_magic, sizeof(start)) == 0;
    return MU_OK;
}

/* O_EXCL, of a block device: not mounted, and no other device is on it, nor on a part of it. */
static enum mu_status open_exclusive(const char *device, int *ret, struct mu_error *err)
{
    *ret = open(device, O_RDWR | O_EXCL | O_CLOEXEC | O_NONBLOCK);
    if (*ret >= 0)
        return MU_OK;
    return fail_to_open(device, err);
}

enum mu_status blank_open(const char *device, struct deadline deadline, struct blank *ret,
                          struct mu_error *err)
{
    MU_CLEANUP(blank_free) struct blank blank = {.fd = -1};
    MU_CLEANUP(buffer_free) struct buffer chunk = {0};
    struct reading r = {.device = device, .deadline = deadline};
    bool luks = false;

    MU_TRY(peek(device, &luks, err));
    if (luks) {
        *ret = (struct blank){.fd = -1, .state = BLANK_LUKS};
        return MU_OK;
    }
    MU_TRY(buffer_alloc(&chunk, CHUNK, err));
    MU_TRY(open_exclusive(device, &blank.fd, err));
    MU_TRY(luks_device_size(blank.fd, device, &blank.size, err));
    MU_TRY(check_writable(device, blank.fd, err));
    r.fd = blank.fd;
    r.size = blank.size;
    r.chunk = chunk.data;
    MU_TRY(check(&r, &blank.state, err));
    MU_TRY(string_set(&blank.device, device, err));
    *ret = blank;
    blank = (struct blank){.fd = -1};
    return MU_OK;
}
