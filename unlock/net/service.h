/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_NET_SERVICE_H
#define MU_NET_SERVICE_H

#include "net/http.h"

#define SERVICE_URL_MAX 512

/* One server, a Vault or a verifier: its address and the connection to it. Each call is one
 * attempt. */
struct service;
/* address: https:// and all that comes before /v1/. The address and the CA file are borrowed.
 * MU_CONFIG. */
enum mu_status service_open(const char *what, const char *address, const char *ca_file,
                            struct deadline deadline, struct service **ret,
                            struct mu_error *err) MU_MUST_CHECK;
void service_close(struct service **service);
/* One attempt. The method, headers, body and limits are the request's (total_ms 0: as usual), the
 * URL is the address and path. As http_perform. */
enum mu_status service_call(struct service *service, const struct http_request *request,
                            const char *path, struct http_response *ret,
                            struct mu_error *err) MU_MUST_CHECK;
/* "https://host" and an optional port and path, with no slash at the end. */
bool service_address_ok(const char *address);
/* False if the last call got no answer of any kind: the link may come up at any moment. */
bool service_answered(const struct service *service);
/* Of the last call: as http_clock_is_behind. */
bool service_clock_is_behind(const struct service *service);

#endif
