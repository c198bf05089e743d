/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "page/parts.h"

#define PART 50

static const struct {
    const char *value, *name;
} states[] = {{"", "all"},
              {"not-trusted", "not trusted"},
              {"mismatch", "mismatch"},
              {"missing", "missing"},
              {"boot-overdue", "boot overdue"},
              {"new", "new"}};

static enum mu_status check_state(const char *state, struct mu_error *err)
{
    for (size_t i = 0; i < MU_COUNT(states); i++)
        if (strcmp(states[i].value, state) == 0)
            return MU_OK;
    return mu_fail(err, MU_USAGE,
                   "'state' is one of not-trusted, mismatch, missing, boot-overdue, new");
}

static void put_filter(const struct page *page)
{
    FILE *to = page->to;
    const char *image = page->value[KEY_IMAGE];

    (void)fputs("<form action=\"/instances\">\n<p><label for=\"state\">State</label>\n"
                "<select id=\"state\" name=\"state\">",
                to);
    for (size_t i = 0; i < MU_COUNT(states); i++)
        (void)fprintf(to, "\n<option value=\"%s\"%s>%s</option>", states[i].value,
                      strcmp(states[i].value, page->value[KEY_STATE]) == 0 ? " selected" : "",
                      states[i].name);
    (void)fputs("\n</select>\n", to);
    if (image[0] != '\0') {
        (void)fputs("<input type=\"hidden\" name=\"image\" value=\"", to);
        html_text(to, image);
        (void)fputs("\">\n", to);
    }
    (void)fputs("<button>Filter</button></p>\n</form>\n", to);
    if (image[0] != '\0') {
        (void)fputs("<p>Only those whose last document matched ", to);
        page_image_link(to, image);
        (void)fputs(". <a href=\"/instances\">All images</a></p>\n", to);
    }
}

static void put_next(const struct page *page, const char *after)
{
    static const enum page_key kept[] = {KEY_STATE, KEY_IMAGE};
    static const char *const name[PAGE_KEYS] = {[KEY_STATE] = "state", [KEY_IMAGE] = "image"};

    (void)fputs("<p><a rel=\"next\" href=\"/instances?", page->to);
    html_argument(page->to, "after", after);
    for (size_t i = 0; i < MU_COUNT(kept); i++) {
        if (page->value[kept[i]][0] == '\0')
            continue;
        (void)fputs("&amp;", page->to);
        html_argument(page->to, name[kept[i]], page->value[kept[i]]);
    }
    (void)fputs("\">Next page</a></p>\n", page->to);
}

enum mu_status page_instances(struct page *page, struct mu_error *err)
{
    const struct list_part part = {.after = page->value[KEY_AFTER],
                                   .state = page->value[KEY_STATE],
                                   .image = page->value[KEY_IMAGE],
                                   .most = PART};
    char next[PAGE_ID_MAX];
    size_t shown;

    MU_TRY(check_state(part.state, err));
    (void)fputs("<h1>Instances</h1>\n", page->to);
    put_filter(page);
    MU_TRY(page_list(page, "Instances in order of their ids", &part, next, &shown, err));
    if (shown == 0)
        (void)fputs(part.after[0] != '\0' ? "<p>No more instances.</p>\n"
                                          : "<p>No instance is like that.</p>\n",
                    page->to);
    if (next[0] != '\0')
        put_next(page, next);
    if (part.after[0] != '\0')
        (void)fputs("<p><a href=\"/instances\">From the beginning</a></p>\n", page->to);
    return MU_OK;
}
