/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure/changes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 99
#define DESCRIPTION_MAX 1024
#define DIGEST_DIGITS 16

/* How many events of one PCR are examined: GRUB logs each command. */
#define EVENTS_MAX 512
/* How many extends the search for added events may take: enough for a full search of 64 events. */
#define EXTENDS_MAX ((size_t)64 * 64 * 64)
/* How many changes of one PCR are reported. */
#define TOLD_MAX 8

/* The events of one PCR in one log. */
struct history {
    enum hash_alg bank;
    size_t count;
    size_t firmware; /* as many of them as are not from user space; these come last */
    size_t left_out; /* beyond EVENTS_MAX */
    size_t index[EVENTS_MAX];
    const struct event *event[EVENTS_MAX];
    struct digest start;
    bool has_uki; /* systemd-stub has measured what it is part of */
    struct event phase;
    struct digest phase_digest;
};

struct output {
    changes_line *line;
    void *context;
    size_t told; /* changes of the present PCR */
};

/* One line, folded if it is too long, at spaces if there are any. */
static void say(struct output *output, const char *format, ...) MU_PRINTF(2, 3);

static void say(struct output *output, const char *format, ...)
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
    if (pcr == 0)
        ret->start.bytes[hash_size(bank) - 1] = eventlog_pcr0_start(log);
    for (size_t i = 0; i < log->count; i++) {
        const struct event *event = &log->event[i];

        ret->has_uki = ret->has_uki || (event->pcr == 11 && event->type == EV_IPL);
        if (!event_extends(event, pcr) ||
            (event->type == EV_USERSPACE && event_digest_of(event, bank) == NULL))
            continue;
        if (ret->count == EVENTS_MAX || event_digest_of(event, bank) == NULL) {
            ret->left_out++;
            continue;
        }
        ret->index[ret->count] = i;
        ret->event[ret->count++] = event;
        ret->firmware += event->type != EV_USERSPACE;
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
    size_t passes = history->count > 0 ? EXTENDS_MAX / (history->count * history->count) : 0;

    for (size_t len = 1; len <= history->count && len <= passes; len++) {
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

/* What systemd-pcrphase extends after the firmware's log was closed. */
static bool append_phase(struct history *history, size_t index)
{
    static const char text[] = EVENTLOG_PHASES;
    const struct bytes word = {(const uint8_t *)text, strlen(text)};
    struct mu_error err = {0};

    if (history->count == EVENTS_MAX ||
        hash_bytes(history->bank, word, &history->phase_digest, &err) != MU_OK)
        return false;
    history->phase = (struct event){.pcr = 11, .type = EV_IPL, .digests = 1, .data = word};
    history->phase.digest[0] = (struct event_digest){
        (uint16_t)history->bank,
        {history->phase_digest.bytes, hash_size(history->bank)},
    };
    history->index[history->count] = index;
    history->event[history->count++] = &history->phase;
    return true;
}

/* Whether the firmware's events lead to the value, if need be together with those of user space, as
 * many as needed, or with the boot phase. The others are dropped from the history. */
static bool leads_to(struct history *history, const struct eventlog *log, unsigned pcr,
                     const struct digest *value)
{
    struct digest replayed = history->start, firmware;
    size_t known = history->count;

    history->count = history->firmware;
    if (!advance(history, &replayed, 0, history->count))
        return false;
    firmware = replayed;
    while (!same(history, &replayed, value) && history->count < known)
        if (!advance(history, &replayed, history->count, history->count + 1))
            return false;
        else
            history->count++;
    if (same(history, &replayed, value))
        return true;
    history->count = history->firmware;
    if (pcr != 11 || !append_phase(history, log->count))
        return false;
    if (advance(history, &firmware, history->count - 1, history->count) &&
        same(history, &firmware, value))
        return true;
    history->count--;
    return false;
}

static bool is_image(const struct event *event)
{
    return event->type >= EV_EFI_BOOT_SERVICES_APPLICATION &&
           event->type <= EV_EFI_RUNTIME_SERVICES_DRIVER;
}

static bool is_variable(const struct event *event)
{
    return event->type == EV_EFI_VARIABLE_DRIVER_CONFIG || event->type == EV_EFI_VARIABLE_BOOT;
}

/* The name's length in a description "NAME = ..." */
static size_t variable_name(const char *description)
{
    const char *end = strstr(description, " = ");

    return end != NULL ? (size_t)(end - description) : strlen(description);
}

/* The file's name if firmware logged one; the kernel of a UKI has none. */
static const char *image_name(const char *description)
{
    const char *name = strchr(description, '\\');

    return name != NULL ? name : description;
}

static bool is_file(const struct event *event)
{
    char description[DESCRIPTION_MAX];

    event_describe(event, description, sizeof(description));
    return is_image(event) && strchr(description, '\\') != NULL;
}

/* The last image that came from a file, if systemd-stub has run. */
static bool is_uki(const struct history *history, size_t i)
{
    if (!history->has_uki || !is_file(history->event[i]))
        return false;
    for (size_t k = i + 1; k < history->count; k++)
        if (is_file(history->event[k]))
            return false;
    return true;
}

static void image_label(const struct history *history, size_t i, const char *description, char *to,
                        size_t len)
{
    if (history->has_uki && !is_file(history->event[i]))
        (void)snprintf(to, len, "kernel in the UKI");
    else
        (void)snprintf(to, len, "%s %s", is_uki(history, i) ? "UKI" : "image",
                       image_name(description));
}

static void digest_text(const struct history *history, size_t i, char to[static DIGEST_DIGITS + 1])
{
    hex_encode((struct bytes){event_digest_of(history->event[i], history->bank), DIGEST_DIGITS / 2},
               to);
}

/* False if enough was reported about this PCR; says so once. */
static bool tell_one_more(struct output *output)
{
    output->told++;
    if (output->told == TOLD_MAX + 1)
        say(output, "  and more");
    return output->told <= TOLD_MAX;
}

static void say_event(struct output *output, const char *what, const struct history *history,
                      size_t i)
{
    const struct event *event = history->event[i];
    char description[DESCRIPTION_MAX], label[DESCRIPTION_MAX];
    char digest[DIGEST_DIGITS + 1];
    char unknown[16];

    if (!tell_one_more(output))
        return;
    event_describe(event, description, sizeof(description));
    digest_text(history, i, digest);
    image_label(history, i, description, label, sizeof(label));
    if (event == &history->phase)
        say(output, "  %s: boot phase %s", what, description);
    else if (event->type == EV_USERSPACE)
        say(output, "  %s: user space: %s (%s...)", what, description, digest);
    else if (event->pcr == 12 && event->type == EV_IPL)
        say(output, "  %s: command line was handed in from outside: %s", what, description);
    else if (is_image(event))
        say(output, "  %s: %s (event %zu, %s...)", what, label, history->index[i], digest);
    else
        say(output, "  %s: event %zu %s: %s (%s...)", what, history->index[i],
            event_type_name(event->type, unknown), description, digest);
}

static void say_events(struct output *output, const char *what, const struct history *history,
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

/* One event in the place of another: described in words, if both are about the same thing. */
static void say_changed(struct output *output, const struct history *now, size_t i,
                        const struct history *then, size_t k)
{
    const struct event *found = now->event[i], *expected = then->event[k];
    char description[DESCRIPTION_MAX], enrolled[DESCRIPTION_MAX], label[DESCRIPTION_MAX];
    char digest[DIGEST_DIGITS + 1], wanted[DIGEST_DIGITS + 1];
    bool same_text;
    size_t name;

    event_describe(found, description, sizeof(description));
    event_describe(expected, enrolled, sizeof(enrolled));
    same_text = strcmp(description, enrolled) == 0;
    digest_text(now, i, digest);
    digest_text(then, k, wanted);
    name = variable_name(description);
    image_label(now, i, description, label, sizeof(label));
    if (is_image(found) && is_image(expected)) {
        if (tell_one_more(output))
            say(output, "  %s is not the enrolled one (event %zu: %s..., enrolled: %s...)", label,
                now->index[i], digest, wanted);
    } else if (found->pcr == 11 && found->type == EV_IPL && same_text) {
        if (tell_one_more(output))
            say(output, "  section %s of the UKI is not the enrolled one (event %zu)", description,
                now->index[i]);
    } else if (is_variable(found) && is_variable(expected) && name == variable_name(enrolled) &&
               strncmp(description, enrolled, name) == 0) {
        if (tell_one_more(output))
            say(output, "  variable %s is not the enrolled one (event %zu), which is: %s",
                description, now->index[i], same_text ? wanted : enrolled + name + strlen(" = "));
    } else {
        say_event(output, "changed, was", then, k);
        say_event(output, "changed, now", now, i);
    }
}

/* The index in `b`, from k on, of event i of `a`; b->count if there is none. */
static size_t find_event(const struct history *a, size_t i, const struct history *b, size_t k)
{
    while (k < b->count && !same_event(a, i, b, k))
        k++;
    return k;
}

/* Both logs side by side: what comes later in the other one was put in or left out. */
static void compare_histories(struct output *output, const struct history *now,
                              const struct history *then)
{
    size_t i = 0, k = 0;

    while (i < now->count && k < then->count) {
        size_t in_now = find_event(then, k, now, i);
        size_t in_then = find_event(now, i, then, k);

        if (in_now == i) {
            i++;
            k++;
        } else if (in_now < now->count && (in_then == then->count || in_now - i <= in_then - k)) {
            say_events(output, "new", now, i, in_now);
            i = in_now;
        } else if (in_then < then->count) {
            say_events(output, "missing", then, k, in_then);
            k = in_then;
        } else {
            say_changed(output, now, i++, then, k++);
        }
    }
    say_events(output, "missing", then, k, then->count);
    say_events(output, "new", now, i, now->count);
}

/* False for an event that never differs, or that the event next to it reports. */
static bool is_suspect(const struct history *history, size_t i)
{
    const struct event *event = history->event[i];
    const struct event *next = i + 1 < history->count ? history->event[i + 1] : NULL;
    const struct bytes boot_option = text_view(EVENTLOG_BOOT_ACTION);

    if (event->type == EV_SEPARATOR ||
        (event->type == EV_EFI_ACTION && bytes_equal(event->data, boot_option)))
        return false;
    if (history->has_uki && is_image(event) && !is_file(event))
        return false; /* the kernel in a UKI */
    return next == NULL || event->pcr != 11 || event->data.len != next->data.len ||
           memcmp(event->data.data, next->data.data, event->data.len) != 0; /* name of a section */
}

/* Without a reference: what can have changed. */
static void say_suspects(struct output *output, const struct history *history, unsigned pcr)
{
    char description[DESCRIPTION_MAX], label[DESCRIPTION_MAX];
    char digest[DIGEST_DIGITS + 1];
    size_t suspects = 0, last = 0;

    for (size_t i = 0; i < history->count; i++) {
        if (!is_suspect(history, i))
            continue;
        suspects++;
        last = i;
    }
    if (suspects == 1 && is_image(history->event[last])) {
        event_describe(history->event[last], description, sizeof(description));
        image_label(history, last, description, label, sizeof(label));
        digest_text(history, last, digest);
        say(output, "PCR %u: the event log explains it:", pcr);
        say(output, "  %s is not the enrolled one (event %zu, %s...)", label, history->index[last],
            digest);
        return;
    }
    say(output,
        "PCR %u: the event log explains it; one of these was changed or one is missing:", pcr);
    for (size_t i = 0; i < history->count; i++)
        if (is_suspect(history, i))
            say_event(output, "logged", history, i);
}

static void describe_pcr(struct output *output, const struct eventlog *log,
                         const struct eventlog *reference, const struct pcr_values *expected,
                         const struct pcr_values *found, unsigned pcr)
{
    struct history history, then;
    size_t first = 0, last = 0;

    output->told = 0;
    collect(log, expected->bank, pcr, &history);
    if (history.left_out > 0) {
        say(output, "PCR %u: the log has more than %d events, or some without a %s digest", pcr,
            EVENTS_MAX, hash_name(expected->bank));
        return;
    }
    if (!leads_to(&history, log, pcr, &found->value[pcr])) {
        say(output,
            "PCR %u: the event log does not lead to the value found, so it proves nothing:", pcr);
        say_events(output, "logged", &history, 0, history.count);
        return;
    }
    if (reference != NULL) {
        collect(reference, expected->bank, pcr, &then);
        if (then.left_out == 0 && leads_to(&then, reference, pcr, &expected->value[pcr])) {
            say(output, "PCR %u: the event log explains it; against the reference:", pcr);
            compare_histories(output, &history, &then);
            return;
        }
        say(output, "PCR %u: the reference does not lead to the value expected: not used", pcr);
    }
    if (find_added(&history, &expected->value[pcr], &first, &last)) {
        say(output, "PCR %u: the event log explains it; without %s it would match:", pcr,
            last - first == 1 ? "this event" : "these events");
        say_events(output, "new", &history, first, last);
        return;
    }
    say_suspects(output, &history, pcr);
}

void changes_describe(const struct eventlog *log, const struct eventlog *reference,
                      const struct pcr_values *expected, const struct pcr_values *found,
                      uint32_t differing, changes_line *line, void *context)
{
    struct output output = {line, context, 0};

    if (hash_size(expected->bank) == 0 || expected->bank != found->bank)
        return;
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        if ((differing & PCR_BIT(pcr)) != 0)
            describe_pcr(&output, log, reference, expected, found, pcr);
}
