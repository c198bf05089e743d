/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TESTS_MADE_LOG_H
#define MU_TESTS_MADE_LOG_H

#include "measure/eventlog.h"

/* Event logs made byte by byte, in SHA-256 and SHA-384. */
struct made_log {
    uint8_t data[16384];
    size_t len;
};

void made_le(struct made_log *log, uint64_t value, size_t size);
void made_bytes(struct made_log *log, struct bytes data);
/* Begins a crypto-agile log: the Spec ID event. */
struct made_log made_log_new(void);
/* An event whose digests are those of its data. */
void made_event(struct made_log *log, uint32_t pcr, uint32_t type, struct bytes data);
void made_text_event(struct made_log *log, uint32_t pcr, uint32_t type, const char *text);
/* The text in UTF-16LE with its terminating zero. */
void made_utf16_event(struct made_log *log, uint32_t pcr, uint32_t type, const char *text);
struct eventlog made_parsed(const struct made_log *log);
struct bytes made_view(const struct made_log *log);

#endif
