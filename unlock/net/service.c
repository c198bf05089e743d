/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_MAX 256
#define CONNECT_MS 5000
#define TOTAL_MS 15000

struct service {
    struct http *http;
    const char *address;
    struct deadline deadline;
    unsigned attempt; /* without an answer */
    bool answered;
};

bool service_address_ok(const char *address)
{
    static const char scheme[] = "https://";
    struct bytes text = {(const uint8_t *)address, strlen(address)};

    return strncmp(address, scheme, sizeof(scheme) - 1) == 0 &&
           http_token_ok(text, sizeof(scheme), ADDRESS_MAX) &&
           strcspn(address, "?#@\"\\") == text.len && address[text.len - 1] != '/';
}

enum mu_status service_open(const char *what, const char *address, const char *ca_file,
                            struct deadline deadline, struct service **ret, struct mu_error *err)
{
    MU_CLEANUP(service_close) struct service *service = NULL;

    if (!service_address_ok(address))
        return mu_fail(err, MU_CONFIG,
                       "%s: '%.300s' is not https:// with a host, and no slash at the end", what,
                       address);
    if (ca_file == NULL)
        return mu_fail(err, MU_CONFIG, "%s: no CA file is configured in [vault]", what);
    service = calloc(1, sizeof(*service));
    if (service == NULL)
        return mu_oom(err);
    service->address = address;
    service->deadline = deadline;
    MU_TRY(http_open(ca_file, &service->http, err));
    *ret = MU_TAKE(service);
    return MU_OK;
}

void service_close(struct service **service)
{
    if (*service == NULL)
        return;
    http_close(&(*service)->http);
    free(*service);
    *service = NULL;
}

/* Short first attempts, since a lost SYN is sent again only after a second. */
static unsigned connect_limit_ms(const struct service *service)
{
    unsigned limit_ms = 250 * (service->attempt + 1);

    return limit_ms < CONNECT_MS ? limit_ms : CONNECT_MS;
}

enum mu_status service_call(struct service *service, const struct http_request *request,
                            const char *path, struct http_response *ret, struct mu_error *err)
{
    struct http_request r = *request;
    char url[SERVICE_URL_MAX + ADDRESS_MAX];

    r.url = url;
    r.connect_ms = connect_limit_ms(service);
    r.total_ms = r.total_ms != 0 ? r.total_ms : TOTAL_MS;
    r.deadline = service->deadline;
    if ((size_t)snprintf(url, sizeof(url), "%s%s", service->address, path) >= sizeof(url))
        return mu_fail(err, MU_CONFIG, "%s: the path is too long", service->address);
    service->answered = false;
    service->attempt++;
    MU_TRY(http_perform(service->http, &r, ret, err));
    service->answered = true;
    service->attempt = 0;
    return MU_OK;
}

bool service_answered(const struct service *service)
{
    return service->answered;
}

bool service_clock_is_behind(const struct service *service)
{
    return http_clock_is_behind(service->http);
}
