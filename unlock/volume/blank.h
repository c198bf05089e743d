/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_BLANK_H
#define MU_VOLUME_BLANK_H

#include "base/bytes.h"
#include "base/clock.h"

#define BLANK_CLAIM_SIZE 512u
/* What is written when a volume is made: its LUKS2 header up to here. */
#define BLANK_HEADER_END 290816u
#define BLANK_HEADER_COPY 16384u /* of one copy, binary header and JSON */

enum blank_state {
    BLANK_LUKS,    /* begins as a LUKS volume does: not blank, and to be opened as always */
    BLANK_EMPTY,   /* blank */
    BLANK_CLAIMED, /* blank but for what an interrupted run of ours wrote */
};

/* A device that nobody else uses, open for writing while it is one of the last two. */
struct blank {
    int fd; /* -1: not open */
    uint64_t size;
    enum blank_state state;
};

/* Looks whether the device (or image file) is blank: docs/data-volumes.md, "What blank means".
 * MU_REFUSE with what was found and where if it is not, if it is in use, cannot be written or
 * cannot be read; MU_RETRY if it is not there, or the deadline passed. */
enum mu_status blank_open(const char *device, struct deadline deadline, struct blank *ret,
                          struct mu_error *err) MU_MUST_CHECK;
void blank_close(struct blank *blank);

/* The first sector of a device on which a volume is being made. */
void blank_claim(uint8_t ret[static BLANK_CLAIM_SIZE]);

#endif
