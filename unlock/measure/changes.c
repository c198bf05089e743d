/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure/changes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 99
#define DESCRIPTION_MAX 1024
#define DIGEST_DIGITS 16

/* As many events of one PCR as are looked at; the search below takes their cube. */
#define EVENTS_MAX 64

/* The events of one PCR in one log. */
struct history {
    enum hash_alg bank;
    size_t count;
    size_t left_out; /* beyond EVENTS_MAX */
    size_t index[EVENTS_MAX];
    const struct event *event[EVENTS_MAX];
    struct digest start;
};

struct output {
    changes_line *line;
    void *context;
};

/* One line, folded where it is too long, at spaces where there are some. */
static void say(const struct output *output, const char *format, ...) MU_PRINTF(2, 3);

static void say(const struct output *output, const char *format, ...)
{
    char text[DESCRIPTION_MAX + 256];
    char line[LINE_MAX_BYTES + 1];
    const char *pos = text;
    const char *indent = "";
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    while (*pos != '\0') {
        size_t room = LINE_MAX_BYTES - strlen(indent);
        size_t len = strnlen(pos, room + 1);

        if (len > room) {
            len = room;
            while (len > room / 2 && pos[len] != ' ')
                len--;
            if (pos[len] != ' ')
                for (len = room; ((unsigned char)pos[len] & 0xc0) == 0x80;)
                    len--;
        }
        (void)snprintf(line, sizeof(line), "%s%.*s", indent, (int)len, pos);
        output->line(line, output->context);
        pos += len;
        while (*pos == ' ')
            pos++;
        indent = "      ";
    }
}

static void collect(const struct eventlog *log, enum hash_alg bank, unsigned pcr,
                    struct history *ret)
{
    *ret = (struct history){.bank = bank};
    for (size_t i = 0; i < log->count; i++) {
        const struct event *event = &log->event[i];
        uint8_t locality;

        if (pcr == 0 && event_startup_locality(event, &locality))
            ret->start.bytes[hash_size(bank) - 1] = locality;
        if (!event_extends(event, pcr))
            continue;
        if (ret->count == EVENTS_MAX || event_digest_of(event, bank) == NULL) {
            ret->left_out++;
            continue;
        }
        ret->index[ret->count] = i;
        ret->event[ret->count++] = event;
    }
}

/* Extends with the events from..to-1. */
static bool advance(const struct history *history, struct digest *pcr, size_t from, size_t to)
{
    struct mu_error err = {0};

    for (size_t i = from; i < to; i++)
        if (hash_extend(history->bank, pcr, event_digest_of(history->event[i], history->bank),
                        &err) != MU_OK)
            return false;
    return true;
}

static bool same(const struct history *history, const struct digest *a, const struct digest *b)
{
    return memcmp(a->bytes, b->bytes, hash_size(history->bank)) == 0;
}

/* Finds events first..last-1 without which the log leads to the wanted value: fewest first. */
static bool find_added(const struct history *history, const struct digest *wanted,
                       size_t *ret_first, size_t *ret_last)
{
    for (size_t len = 1; len <= history->count; len++) {
        struct digest before = history->start;

        for (size_t first = 0; first + len <= history->count; first++) {
            struct digest after = before;

            if (!advance(history, &after, first + len, history->count))
                return false;
            if (same(history, &after, wanted)) {
                *ret_first = first;
                *ret_last = first + len;
                return true;
            }
            if (!advance(history, &before, first, first + 1))
                return false;
        }
    }
    return false;
}

static bool is_image(const struct event *event)
{
    return event->type >= 0x80000003 && event->type <= 0x80000005;
}

static void say_event(const struct output *output, const char *what, const struct history *history,
                      size_t i)
{
    const struct event *event = history->event[i];
    char description[DESCRIPTION_MAX];
    char digest[DIGEST_DIGITS + 1];
    char unknown[16];

    event_describe(event, description, sizeof(description));
    if (event->pcr == 12 && event->type == 0x0d) {
        say(output, "  %s: command line was handed in from outside: %s", what, description);
        return;
    }
    hex_encode((struct bytes){event_digest_of(event, history->bank), DIGEST_DIGITS / 2}, digest);
    say(output, "  %s: event %zu %s: %s (%s...)", what, history->index[i],
        is_image(event) ? "image" : event_type_name(event->type, unknown), description, digest);
}

static void say_events(const struct output *output, const char *what, const struct history *history,
                       size_t first, size_t last)
{
    for (size_t i = first; i < last; i++)
        say_event(output, what, history, i);
}

static bool same_event(const struct history *a, size_t i, const struct history *b, size_t k)
{
    return memcmp(event_digest_of(a->event[i], a->bank), event_digest_of(b->event[k], b->bank),
                  hash_size(a->bank)) == 0;
}

/* What lies between the common beginning and the common end of both logs. */
static void compare_histories(const struct output *output, const struct history *now,
                              const struct history *then)
{
    size_t first = 0, now_last = now->count, then_last = then->count;

    while (first < now_last && first < then_last && same_event(now, first, then, first))
        first++;
    while (now_last > first && then_last > first &&
           same_event(now, now_last - 1, then, then_last - 1)) {
        now_last--;
        then_last--;
    }
    if (first == now->count && first == then->count) {
        say(output, "  the same events: the reference log is not one of the expected boot");
        return;
    }
    if (now_last - first == then_last - first) {
        for (size_t i = first; i < now_last; i++) {
            say_event(output, "changed, was", then, i);
            say_event(output, "changed, now", now, i);
        }
        return;
    }
    say_events(output, "missing", then, first, then_last);
    say_events(output, "new", now, first, now_last);
}

static void describe_pcr(const struct output *output, const struct eventlog *log,
                         const struct eventlog *reference, const struct pcr_values *expected,
                         const struct pcr_values *found, unsigned pcr)
{
    struct history history, then;
    struct digest replayed;
    size_t first = 0, last = 0;

    collect(log, expected->bank, pcr, &history);
    replayed = history.start;
    if (history.left_out > 0) {
        say(output, "PCR %u: the log has more than %d events, or some without a %s digest", pcr,
            EVENTS_MAX, hash_name(expected->bank));
        return;
    }
    if (!advance(&history, &replayed, 0, history.count))
        return;
    if (!same(&history, &replayed, &found->value[pcr])) {
        say(output,
            "PCR %u: the event log does not lead to the value found, so it proves nothing:", pcr);
        say_events(output, "logged", &history, 0, history.count);
        return;
    }
    if (reference != NULL) {
        collect(reference, expected->bank, pcr, &then);
        say(output, "PCR %u: the event log explains it; against the reference log:", pcr);
        compare_histories(output, &history, &then);
        return;
    }
    if (find_added(&history, &expected->value[pcr], &first, &last)) {
        say(output, "PCR %u: the event log explains it; without %s it would match:", pcr,
            last - first == 1 ? "this event" : "these events");
        say_events(output, "new", &history, first, last);
        return;
    }
    say(output,
        "PCR %u: the event log explains it; one of these was changed or one is missing:", pcr);
    say_events(output, "logged", &history, 0, history.count);
}

void changes_describe(const struct eventlog *log, const struct eventlog *reference,
                      const struct pcr_values *expected, const struct pcr_values *found,
                      uint32_t differing, changes_line *line, void *context)
{
    const struct output output = {line, context};

    if (hash_size(expected->bank) == 0 || expected->bank != found->bank)
        return;
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        if ((differing & PCR_BIT(pcr)) != 0)
            describe_pcr(&output, log, reference, expected, found, pcr);
}
