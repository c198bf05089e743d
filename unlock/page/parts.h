/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_PAGE_PARTS_H
#define MU_PAGE_PARTS_H

#include "fleet/history.h"
#include "page/html.h"

/* The arguments that a query may have; "" if it has not. */
enum page_key { KEY_HOURS, KEY_STATE, KEY_IMAGE, KEY_AFTER, KEY_ID, PAGE_KEYS };

/* A page while it is drawn. */
struct page {
    FILE *to;
    struct store *store;
    int64_t now_ms;
    const char *value[PAGE_KEYS];
};

/* Each draws what is between <main> and </main>. MU_USAGE: the query is unusable; MU_REFUSE: what
 * it names does not exist; else the store could not be read. */
enum mu_status page_fleet(struct page *page, struct mu_error *err) MU_MUST_CHECK;
enum mu_status page_instances(struct page *page, struct mu_error *err) MU_MUST_CHECK;
enum mu_status page_instance(struct page *page, struct mu_error *err) MU_MUST_CHECK;
enum mu_status page_images(struct page *page, struct mu_error *err) MU_MUST_CHECK;
enum mu_status page_image(struct page *page, struct mu_error *err) MU_MUST_CHECK;

/* The plots of the samples, each with its figures as a table. */
#define PLOT_POINTS 128
struct plot {
    struct sample sample[PLOT_POINTS];
    size_t samples;
    int64_t from_ms, until_ms, step_ms;
};
void page_plot(FILE *to, const struct plot *plot);

/* Rows of instances, in a table of their own; `next` gets the last id if there are more than
 * part->most, and "" if not. */
#define PAGE_ID_MAX 128
enum mu_status page_list(struct page *page, const char *caption, const struct list_part *part,
                         char next[static PAGE_ID_MAX], size_t *ret_shown,
                         struct mu_error *err) MU_MUST_CHECK;
/* The states of an instance, as words. */
void page_state(FILE *to, const struct instance *instance);
/* The first digits of an id, as a link to its image; a dash for "". */
void page_image_link(FILE *to, const char *id);
/* Until when the act holds. */
void page_until(FILE *to, const struct image_act *act);

#endif
