/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "page/parts.h"

#define ENTRIES 300

struct drawing {
    struct page *page;
    size_t count;
};

/* ---- what differs ---- */

/* baseline_compare's words, "PCR 4: expected ..., found ...; PCR 7: ...", as a table; what stands
 * before them, and what is cut off at their end, as text. */
static void put_difference(FILE *to, const char *detail)
{
    static const char *const columns[] = {"PCR", "Expected", "Found"};
    MU_CLEANUP(string_free) char *text = strdup(detail);
    char *at = text == NULL ? NULL : strstr(text, "PCR "), *next;
    size_t rows = 0;

    if (at != NULL && at > text) {
        at[-1] = '\0';
        (void)fputs("<p>", to);
        html_text(to, text);
        (void)fputs("</p>\n", to);
    }
    for (; at != NULL; at = next) {
        char number[4], expected[64], found[64];

        next = strstr(at, "; PCR ");
        if (next != NULL) {
            *next = '\0';
            next += 2;
        }
        if (sscanf(at, "PCR %3[0-9]: expected %63[^,], found %63s", number, expected, found) != 3)
            break;
        if (rows++ == 0)
            html_table_begin(to, "PCRs that differ from the closest baseline", columns, 3);
        html_row(to);
        html_head_cell(to, columns[0]);
        html_text(to, number);
        html_cell(to, columns[1]);
        html_text(to, expected);
        html_cell(to, columns[2]);
        html_text(to, found);
    }
    if (rows > 0)
        html_table_end(to);
    if (at != NULL || rows == 0) {
        (void)fputs("<p>", to);
        html_text(to, at != NULL ? at : detail);
        (void)fputs("</p>\n", to);
    }
}

/* ---- what it is ---- */

static void put_time_item(const struct page *page, const char *name, int64_t at_ms)
{
    html_name(page->to, name);
    html_time(page->to, at_ms, page->now_ms);
}

static void put_baseline(FILE *to, const char *name, const char *baseline, const char *version)
{
    html_name(to, name);
    html_text(to, baseline[0] != '\0' ? baseline : "none");
    (void)fputs(" ", to);
    html_text(to, version);
}

static void put_image(FILE *to, const char *name, const char *id)
{
    html_name(to, name);
    page_image_link(to, id);
}

static enum mu_status put_instance(const struct instance *instance, void *context,
                                   struct mu_error *err)
{
    struct drawing *drawing = context;
    struct page *page = drawing->page;
    FILE *to = page->to;

    (void)err;
    drawing->count++;
    (void)fputs("<dl class=\"facts\">", to);
    html_name(to, "State");
    page_state(to, instance);
    put_time_item(page, "Last document", instance->last_seen);
    html_item(to, "Result", instance->ok ? "good" : "not good");
    html_item(to, "State of the system", instance->state);
    put_baseline(to, instance->ok ? "Matches" : "Closest baseline", instance->baseline,
                 instance->baseline_version);
    put_image(to, "Image", instance->image);
    put_image(to, "Boot loader", instance->boot_loader);
    html_item(to, "Sent from", instance->address);
    put_time_item(page, "First seen", instance->first_seen);
    put_time_item(page, "Last good", instance->last_good);
    if (instance->last_good != 0)
        put_baseline(to, "Matched then", instance->good_baseline, instance->good_version);
    if (instance->boot_since != 0)
        put_time_item(page, "In the state boot since", instance->boot_since);
    put_time_item(page, "Last mismatch", instance->mismatch_at);
    put_time_item(page, "Last announcement", instance->announced_at);
    (void)fputs("\n</dl>\n", to);
    if (instance->mismatch_at == 0)
        return MU_OK;
    (void)fprintf(to, "<h2>%s</h2>\n",
                  instance->ok ? "What differed at the last mismatch" : "What differs");
    put_difference(to, instance->ok ? instance->mismatch : instance->detail);
    return MU_OK;
}

/* ---- its history ---- */

static const char *const columns[] = {"Time",  "What",      "State",       "Baseline",
                                      "Image", "Sent from", "What differs"};

static enum mu_status put_entry(const struct history_entry *entry, void *context,
                                struct mu_error *err)
{
    struct drawing *drawing = context;
    FILE *to = drawing->page->to;
    bool change = entry->event[0] == '\0';
    const char *const text[] = {entry->state, entry->baseline, NULL, entry->address,
                                change ? entry->detail : ""};

    (void)err;
    if (drawing->count++ == 0)
        html_table_begin(to, "Changes and announcements, the newest first", columns,
                         MU_COUNT(columns));
    html_row(to);
    html_head_cell(to, columns[0]);
    html_time(to, entry->at_ms, drawing->page->now_ms);
    html_cell(to, columns[1]);
    if (change)
        (void)fputs(entry->ok ? "good document" : "bad document", to);
    else
        (void)fprintf(to, "announced: <span class=\"state %s\">", entry->event),
            html_text(to, entry->event), (void)fputs("</span>", to);
    for (size_t i = 0; i < MU_COUNT(text); i++) {
        html_cell(to, columns[i + 2]);
        if (text[i] == NULL)
            page_image_link(to, entry->image);
        else
            html_text(to, text[i]);
        if (i == 1 && entry->baseline_version[0] != '\0') {
            (void)fputs(" ", to);
            html_text(to, entry->baseline_version);
        }
    }
    return MU_OK;
}

static enum mu_status put_history(struct page *page, struct mu_error *err)
{
    struct drawing drawing = {.page = page};

    (void)fputs("<h2>History</h2>\n", page->to);
    MU_TRY(store_history(page->store, page->value[KEY_ID], ENTRIES, put_entry, &drawing, err));
    if (drawing.count > 0)
        html_table_end(page->to);
    else
        (void)fputs("<p>No change is on record: older ones than the watch keeps are gone.</p>\n",
                    page->to);
    if (drawing.count == ENTRIES)
        (void)fputs("<p>There is more: <code>mu-verifier list --history</code> shows it.</p>\n",
                    page->to);
    return MU_OK;
}

enum mu_status page_instance(struct page *page, struct mu_error *err)
{
    struct drawing drawing = {.page = page};
    const char *id = page->value[KEY_ID];

    if (id[0] == '\0')
        return mu_fail(err, MU_USAGE, "'id' is needed: of an instance");
    (void)fputs("<h1>Instance <span class=\"id\">", page->to);
    html_text(page->to, id);
    (void)fputs("</span></h1>\n", page->to);
    MU_TRY(store_instances(page->store, id, put_instance, &drawing, err));
    if (drawing.count == 0)
        return mu_fail(err, MU_REFUSE,
                       "%s is not known: it never sent a document, or it was forgotten.", id);
    return put_history(page, err);
}
