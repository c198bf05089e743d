/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_PAGE_PAGE_H
#define MU_PAGE_PAGE_H

#include "fleet/store.h"

/* The read-only page about a fleet, as HTML without scripts; independent of the HTTP library. */

struct page_argument {
    const char *name, *value; /* NULL: it had none, or a zero byte */
};

struct page_request {
    const char *path;
    const struct page_argument *argument; /* of the query */
    size_t arguments;
    int64_t now_ms;
};

struct page_answer {
    unsigned status; /* of HTTP */
    const char *content_type;
    char *text;          /* NULL: out of memory */
    struct mu_error why; /* unless 200 */
};

/* 400: the query is not one of this path; 404: there is no such path, instance or image; 503: the
 * store cannot be read, of which nothing is said but that. Reads the store alone. */
void page_render(struct store *store, const struct page_request *request, struct page_answer *ret);
/* A page that says why there is none. */
void page_refuse(const char *title, unsigned status, const char *sentence, struct page_answer *ret);
void page_answer_free(struct page_answer *answer);

#endif
