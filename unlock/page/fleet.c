/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "page/parts.h"

#define HOUR_MS 3600000
#define FIRST_SHOWN 10
/* A watch that has not written for so long does not run, or cannot. */
#define STALE_MS 180000

/* ---- fleet at a glance ---- */

static const struct window {
    const char *hours, *name;
    int64_t ms;
} windows[] = {
    {"6", "6 hours", 6 * (int64_t)HOUR_MS},
    {"24", "a day", 24 * (int64_t)HOUR_MS},
    {"168", "a week", 168 * (int64_t)HOUR_MS},
    {"720", "30 days", 720 * (int64_t)HOUR_MS},
};
#define WINDOW_DEFAULT (&windows[1])

static enum mu_status find_window(const char *hours, const struct window **ret,
                                  struct mu_error *err)
{
    *ret = WINDOW_DEFAULT;
    if (hours[0] == '\0')
        return MU_OK;
    for (size_t i = 0; i < MU_COUNT(windows); i++) {
        *ret = &windows[i];
        if (strcmp(windows[i].hours, hours) == 0)
            return MU_OK;
    }
    return mu_fail(err, MU_USAGE, "'hours' is one of 6, 24, 168, 720");
}

static enum mu_status keep_sample(const struct sample *sample, void *context, struct mu_error *err)
{
    struct plot *plot = context;

    (void)err;
    if (plot->samples < PLOT_POINTS)
        plot->sample[plot->samples++] = *sample;
    return MU_OK;
}

/* Steps begin at whole multiples of their length, as those of store_samples do. */
static enum mu_status read_plot(struct page *page, int64_t ms, struct plot *ret,
                                struct mu_error *err)
{
    *ret = (struct plot){.until_ms = page->now_ms};
    ret->step_ms = ms / (PLOT_POINTS - 8) / SAMPLE_MS * SAMPLE_MS;
    ret->from_ms = page->now_ms - ms;
    ret->from_ms -= ret->from_ms % ret->step_ms;
    return store_samples(page->store, ret->from_ms, ret->step_ms, keep_sample, ret, err);
}

static enum mu_status keep_last(const struct sample *sample, void *context, struct mu_error *err)
{
    (void)err;
    *(struct sample *)context = *sample;
    return MU_OK;
}

static void put_tile(FILE *to, const char *name, const char *class, const char *state,
                     int64_t count)
{
    char number[24];

    (void)snprintf(number, sizeof(number), "%" PRId64, count);
    (void)fprintf(to, "\n<div class=\"tile%s%s\"><dt>%s</dt><dd>", count > 0 ? " " : "",
                  count > 0 ? class : "", name);
    if (state != NULL)
        html_link(to, "/instances", "state", state, number);
    else
        html_text(to, number);
    (void)fputs("</dd></div>", to);
}

static void put_counts(struct page *page, const struct sample *now)
{
    FILE *to = page->to;

    if (now->looked_ms == 0) {
        (void)fputs("<p class=\"warning\"><strong>No counts:</strong> nothing was written in the "
                    "last hour by <code>mu-verifier watch</code>. Does it run, with this store? "
                    "What is listed below is what it announced last.</p>\n",
                    to);
        return;
    }
    (void)fputs("<p>The watch looked ", to);
    html_time(to, now->looked_ms, page->now_ms);
    (void)fputs(".</p>\n", to);
    if (page->now_ms - now->looked_ms > STALE_MS)
        (void)fputs("<p class=\"warning\"><strong>Old:</strong> <code>mu-verifier watch</code> "
                    "does not look any more. What follows may have changed since.</p>\n",
                    to);
    (void)fputs("<dl class=\"tiles\">", to);
    put_tile(to, "Mismatch", "mismatch", "mismatch", now->mismatch);
    put_tile(to, "Missing", "missing", "missing", now->missing);
    put_tile(to, "Boot overdue", "overdue", "boot-overdue", now->boot_overdue);
    put_tile(to, "Good", "ok", NULL, now->ok);
    (void)fputs("\n</dl>\n<p>One that is altered and silent counts twice.</p>\n", to);
}

static void put_windows(FILE *to, const struct window *chosen)
{
    (void)fputs("<nav aria-label=\"Time of the plots\"><ul>", to);
    for (size_t i = 0; i < MU_COUNT(windows); i++)
        (void)fprintf(to, "\n<li><a href=\"/?hours=%s\"%s>%s</a></li>", windows[i].hours,
                      &windows[i] == chosen ? " aria-current=\"true\"" : "", windows[i].name);
    (void)fputs("\n</ul></nav>\n", to);
}

/* The worst first; one that is altered and silent is in two lists. */
static enum mu_status put_not_trusted(struct page *page, struct mu_error *err)
{
    static const struct {
        const char *state, *caption;
    } lists[] = {{"mismatch", "Mismatch: the last document differs from every baseline"},
                 {"boot-overdue", "Boot overdue: in the state boot for longer than a boot takes"},
                 {"missing", "Missing: silent for longer than is allowed"},
                 {"new", "New: not yet looked at by the watch"}};
    size_t all = 0;

    for (size_t i = 0; i < MU_COUNT(lists); i++) {
        const struct list_part part = {
            .after = "", .state = lists[i].state, .image = "", .most = FIRST_SHOWN};
        char next[PAGE_ID_MAX];
        size_t shown;

        MU_TRY(page_list(page, lists[i].caption, &part, next, &shown, err));
        all += shown;
        if (next[0] != '\0')
            (void)fprintf(page->to, "<p><a href=\"/instances?state=%s\">All that are %s</a></p>\n",
                          lists[i].state, lists[i].state);
    }
    if (all == 0)
        (void)fputs("<p>Every instance that is known is good, and not silent.</p>\n", page->to);
    return MU_OK;
}

enum mu_status page_fleet(struct page *page, struct mu_error *err)
{
    const struct window *window;
    struct sample now = {0};
    struct plot plot;
    FILE *to = page->to;

    MU_TRY(find_window(page->value[KEY_HOURS], &window, err));
    MU_TRY(store_samples(page->store, page->now_ms - HOUR_MS, SAMPLE_MS, keep_last, &now, err));
    MU_TRY(read_plot(page, window->ms, &plot, err));
    (void)fputs("<h1>Fleet</h1>\n", to);
    put_counts(page, &now);
    (void)fputs("<h2>Not trusted now</h2>\n", to);
    MU_TRY(put_not_trusted(page, err));
    (void)fputs("<h2>Find an instance</h2>\n<form action=\"/instance\">\n"
                "<p><label for=\"id\">Its whole id</label>\n"
                "<input id=\"id\" name=\"id\" required autocomplete=\"off\" spellcheck=\"false\">\n"
                "<button>Show</button></p>\n</form>\n",
                to);
    (void)fprintf(to, "<h2>The last %s</h2>\n",
                  window->name + (strncmp(window->name, "a ", 2) == 0 ? 2 : 0));
    put_windows(to, window);
    page_plot(to, &plot);
    (void)fprintf(to, "<p><a href=\"/?hours=%s\">Refresh</a></p>\n", window->hours);
    return MU_OK;
}

/* ---- lists ---- */

void page_state(FILE *to, const struct instance *instance)
{
    const struct announced *announced = &instance->announced;
    bool unannounced = !instance->ok && announced->standing != STANDING_MISMATCH;
    const char *standing = unannounced ? store_standing_name(STANDING_MISMATCH)
                                       : store_standing_name(announced->standing);

    if (!announced->missing || announced->standing != STANDING_OK || unannounced)
        (void)fprintf(to, "<span class=\"state %s\">%s</span>", standing, standing);
    if (announced->missing)
        (void)fprintf(to, " <span class=\"state missing\">%s</span>",
                      store_event_kind_name(EVENT_MISSING));
}

struct listing {
    struct page *page;
    const struct list_part *part;
    const char *caption;
    size_t shown;
    char last[PAGE_ID_MAX];
    bool more;
};

static const char *const list_columns[] = {"Instance",  "State",    "Last document",
                                           "Last good", "Baseline", "What differs"};

/* One more than is shown is asked for. */
static enum mu_status put_instance(const struct instance *instance, void *context,
                                   struct mu_error *err)
{
    struct listing *listing = context;
    FILE *to = listing->page->to;
    int64_t now_ms = listing->page->now_ms;

    (void)err;
    if (listing->shown == listing->part->most) {
        listing->more = true;
        return MU_OK;
    }
    if (listing->shown++ == 0)
        html_table_begin(to, listing->caption, list_columns, MU_COUNT(list_columns));
    (void)snprintf(listing->last, sizeof(listing->last), "%s", instance->id);
    html_row(to);
    html_head_cell(to, list_columns[0]);
    html_link(to, "/instance", "id", instance->id, NULL);
    html_cell(to, list_columns[1]);
    page_state(to, instance);
    html_cell(to, list_columns[2]);
    html_age(to, instance->last_seen, now_ms);
    html_cell(to, list_columns[3]);
    html_age(to, instance->last_good, now_ms);
    html_cell(to, list_columns[4]);
    html_text(to, instance->baseline);
    (void)fputs(" ", to);
    html_text(to, instance->baseline_version);
    html_cell(to, list_columns[5]);
    html_text(to, instance->detail);
    return MU_OK;
}

enum mu_status page_list(struct page *page, const char *caption, const struct list_part *part,
                         char next[static PAGE_ID_MAX], size_t *ret_shown, struct mu_error *err)
{
    struct listing listing = {.page = page, .part = part, .caption = caption};
    struct list_part asked = *part;

    asked.most++;
    MU_TRY(store_list(page->store, &asked, put_instance, &listing, err));
    if (listing.shown > 0)
        html_table_end(page->to);
    (void)snprintf(next, PAGE_ID_MAX, "%s", listing.more ? listing.last : "");
    *ret_shown = listing.shown;
    return MU_OK;
}
