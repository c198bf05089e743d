/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_PAGE_SERVER_H
#define MU_VERIFIER_PAGE_SERVER_H

#include "verifier/server.h"

/* Serves the page about the fleet to those who have what [page] demands, on a thread of its own and
 * with a connection to the store of its own, so that people who look hold up no instance. */
struct page_server;

/* `verifier` has to outlive it; `listening` stays the caller's, and open. MU_CONFIG. */
enum mu_status page_server_start(struct shared *shared, const struct verifier *verifier,
                                 int listening, struct page_server **ret,
                                 struct mu_error *err) MU_MUST_CHECK;
/* Ends all connections, and frees it. */
void page_server_stop(struct page_server **page);

/* What [page] demands of the header Authorization (NULL: there is none): the token as RFC 6750's
 * bearer or as the password of RFC 7617, compared in constant time. */
bool page_token_fits(const char *authorization, const struct secret *token);

#endif
