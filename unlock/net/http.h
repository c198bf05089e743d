/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_NET_HTTP_H
#define MU_NET_HTTP_H

#include <time.h>

#include "base/bytes.h"
#include "base/clock.h"

/* HTTP/1.1 over one connection that is kept open, used by one thread at a time. No redirects, no
 * proxies, nothing from the environment; With a CA file only https, without one only http. */
struct http;

#define HTTP_BODY_MAX 65536

/* ca_file is borrowed; NULL: plain http. */
enum mu_status http_open(const char *ca_file, struct http **ret,
                         struct mu_error *err) MU_MUST_CHECK;
void http_close(struct http **http);

struct http_header {
    const char *name;
    struct bytes value; /* printable ASCII; an empty one is not sent */
};

struct http_request {
    const char *method; /* "GET", "PUT", "POST" */
    const char *url;
    struct http_header header[5];
    struct bytes body; /* PUT and POST */
    /* AWS Signature Version 4 over all headers given and the body, if not NULL:
     * "aws:amz:<region>:<service>". A header X-Amz-Date is the time of signing. */
    const char *sigv4;
    struct bytes access_key_id, secret_access_key;
    unsigned connect_ms, total_ms; /* limits, besides the deadline */
    struct deadline deadline;      /* its stop ends a transfer within a tenth of a second */
};

/* Valid until the next request; the memory is wiped. */
struct http_response {
    long status;
    time_t date;           /* the server's clock (header Date); 0 if not given */
    char content_type[64]; /* "" if not given or longer */
    struct bytes body;     /* one zero byte follows */
};

/* Any answer is MU_OK. MU_RETRY: no connection, no name, no answer in time. MU_REFUSE: the
 * certificate does not verify, or an answer of more than HTTP_BODY_MAX bytes. MU_CONFIG: URL or CA
 * file. */
enum mu_status http_perform(struct http *http, const struct http_request *request,
                            struct http_response *ret, struct mu_error *err) MU_MUST_CHECK;

/* True if the last request ended because the server's certificate is not valid yet: by all that the
 * machine knows its clock is behind. */
bool http_clock_is_behind(const struct http *http);

/* Printable ASCII without spaces, min to max long: fit for a header or a URL. */
bool http_token_ok(struct bytes text, size_t min, size_t max);

#endif
