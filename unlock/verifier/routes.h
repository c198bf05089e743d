/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_ROUTES_H
#define MU_VERIFIER_ROUTES_H

#include "verifier/appraise.h"
#include "verifier/server.h"

/* What is at each path; independent of the HTTP library. */
struct route {
    const char *path;   /* NULL: any other path */
    const char *method; /* "GET" (HEAD, too) or "POST" */
    void (*answer)(const struct server *server, struct bytes body, struct appraisal *ret);
    const char *content_type;
    bool attests;
};

/* Never NULL. */
const struct route *route_find(const char *path);

/* The text of an answer: JSON, or the route's own text as it is. NULL: out of memory. */
const char *route_text(const struct appraisal *appraisal);

/* Log, metrics and store of an answer that `took_us`; `address` is the sender's. */
void route_note(const struct server *server, const struct route *route,
                const struct appraisal *appraisal, const char *address, uint64_t took_us);

#endif
