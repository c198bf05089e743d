/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_BLANK_CHECK_H
#define MU_VOLUME_BLANK_CHECK_H

#include "base/bytes.h"
#include "base/clock.h"

#define BLANK_CLAIM_SIZE 512u
/* When a volume is made, its LUKS2 header is written up to here, and nothing else. */
#define BLANK_HEADER_END 290816u
#define BLANK_HEADER_COPY 16384u /* of one copy, binary header and JSON */

enum blank_state {
    BLANK_LUKS,    /* begins like a LUKS volume: not blank, opened as usual */
    BLANK_EMPTY,   /* blank */
    BLANK_CLAIMED, /* blank, except for what an interrupted run of ours wrote */
};

/* A device that nothing else uses; open for writing while it is BLANK_EMPTY or BLANK_CLAIMED. */
struct blank {
    int fd;       /* -1: not open */
    char *device; /* set if BLANK_EMPTY or BLANK_CLAIMED, also after closing */
    uint64_t size;
    enum blank_state state;
};

/* Looks whether the device (or image file) is blank: docs/guide/data-volumes.md, "What blank
 * means". MU_REFUSE if the device is not blank (the text says what was found and where), is in use,
 * or cannot be read or written; MU_RETRY if the device is not there, or the deadline passed. */
enum mu_status blank_open(const char *device, struct deadline deadline, struct blank *ret,
                          struct mu_error *err) MU_MUST_CHECK;
void blank_close(struct blank *blank);
static inline bool blank_is_open(const struct blank *blank)
{
    return blank->fd >= 0;
}
void blank_free(struct blank *blank);

/* The first sector of a device on which a volume is being made. */
void blank_claim(uint8_t ret[static BLANK_CLAIM_SIZE]);

#endif
