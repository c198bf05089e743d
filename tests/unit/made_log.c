/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "made_log.h"

#include <stdlib.h>
#include <string.h>

static const enum hash_alg banks[] = {HASH_SHA256, HASH_SHA384};

static void require(bool holds)
{
    if (!holds)
        abort();
}

void made_bytes(struct made_log *log, struct bytes data)
{
    require(data.len <= sizeof(log->data) - log->len);
    if (data.len > 0)
        memcpy(log->data + log->len, data.data, data.len);
    log->len += data.len;
}

void made_le(struct made_log *log, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = i < sizeof(value) ? (uint8_t)(value >> (8 * i)) : 0;

        made_bytes(log, (struct bytes){&byte, 1});
    }
}

struct made_log made_log_new(void)
{
    static const uint8_t zeros[20];
    struct made_log log = {.len = 0};

    made_le(&log, 0, 4);
    made_le(&log, 3, 4);
    made_bytes(&log, (struct bytes){zeros, 20});
    made_le(&log, 37, 4);
    made_bytes(&log, (struct bytes){(const uint8_t *)"Spec ID Event03", 16});
    made_le(&log, 0, 4);          /* platform class */
    made_le(&log, 0x02000200, 4); /* 2.0, UINTN of 8 bytes */
    made_le(&log, 2, 4);
    for (size_t i = 0; i < 2; i++) {
        made_le(&log, banks[i], 2);
        made_le(&log, hash_size(banks[i]), 2);
    }
    made_le(&log, 0, 1);
    return log;
}

void made_event(struct made_log *log, uint32_t pcr, uint32_t type, struct bytes data)
{
    made_le(log, pcr, 4);
    made_le(log, type, 4);
    made_le(log, 2, 4);
    for (size_t i = 0; i < 2; i++) {
        struct mu_error err;
        struct digest digest;

        require(hash_bytes(banks[i], data, &digest, &err) == MU_OK);
        made_le(log, banks[i], 2);
        made_bytes(log, (struct bytes){digest.bytes, hash_size(banks[i])});
    }
    made_le(log, data.len, 4);
    made_bytes(log, data);
}

void made_text_event(struct made_log *log, uint32_t pcr, uint32_t type, const char *text)
{
    made_event(log, pcr, type, text_view(text));
}

void made_utf16_event(struct made_log *log, uint32_t pcr, uint32_t type, const char *text)
{
    uint8_t wide[2048] = {0};
    size_t len = strlen(text);

    require(2 * len + 2 <= sizeof(wide));
    for (size_t i = 0; i < len; i++)
        wide[2 * i] = (uint8_t)text[i];
    made_event(log, pcr, type, (struct bytes){wide, 2 * len + 2});
}

struct bytes made_view(const struct made_log *log)
{
    return (struct bytes){log->data, log->len};
}

struct eventlog made_parsed(const struct made_log *log)
{
    struct eventlog parsed = {0};
    struct mu_error err;

    require(eventlog_parse(made_view(log), &parsed, &err) == MU_OK);
    return parsed;
}
