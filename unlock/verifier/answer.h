/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_ANSWER_H
#define MU_VERIFIER_ANSWER_H

#include "verifier/judge.h"
#include "verifier/server.h"

/* What is at each path, without the ways of HTTP's library. */
struct endpoint {
    const char *path;   /* NULL: whatever else */
    const char *method; /* "GET" (HEAD, too) or "POST" */
    void (*answer)(const struct server *server, struct bytes body, struct judgement *ret);
    const char *content_type;
    bool attests;
};

/* Never NULL. */
const struct endpoint *answer_endpoint(const char *path);

/* The text of an answer: JSON, or what the endpoint says as it is. NULL: memory is short. */
const char *answer_text(const struct judgement *judgement);

/* Log, metrics and store of an answer that `took_us`; `address` is the sender's. */
void answer_note(const struct server *server, const struct endpoint *endpoint,
                 const struct judgement *judgement, const char *address, uint64_t took_us);

#endif
