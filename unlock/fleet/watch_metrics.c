/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/watch_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <microhttpd.h>

#define NAME "measured_unlock_watch_"
#define CONNECTIONS 16u
#define TIMEOUT_S 5u

struct watch_metrics {
    struct MHD_Daemon *daemon;
    struct watch *watch;
};

static void head(FILE *to, const char *name, const char *type, const char *help)
{
    (void)fprintf(to, "# HELP " NAME "%s %s\n# TYPE " NAME "%s %s\n", name, help, name, type);
}

static void put_counts(FILE *to, const struct watch_counts *counts)
{
    head(to, "instances", "gauge", "Instances by what was announced of them.");
    for (size_t i = ANNOUNCED_OK; i <= ANNOUNCED_MISSING; i++)
        (void)fprintf(to, NAME "instances{state=\"%s\"} %" PRIu64 "\n",
                      announced_name((enum announced)i), counts->instances[i]);
    head(to, "events_total", "counter", "Events since the start, by kind.");
    for (size_t i = 0; i < EVENT_KINDS; i++)
        (void)fprintf(to, NAME "events_total{kind=\"%s\"} %" PRIu64 "\n",
                      event_kind_name((enum event_kind)i), counts->events[i]);
    head(to, "scans_total", "counter", "Looks at the store.");
    (void)fprintf(to, NAME "scans_total %" PRIu64 "\n", counts->scans);
    head(to, "scan_failures_total", "counter", "Looks at the store that failed.");
    (void)fprintf(to, NAME "scan_failures_total %" PRIu64 "\n", counts->failed_scans);
    head(to, "scan_seconds", "gauge", "How long the last look took.");
    (void)fprintf(to, NAME "scan_seconds %.6f\n", counts->scan_seconds);
}

static void put_age(FILE *to, const char *name, const char *help, int64_t at_ms)
{
    if (at_ms == 0)
        return;
    head(to, name, "gauge", help);
    (void)fprintf(to, NAME "%s %.3f\n", name, (double)(watch_now_ms() - at_ms) / 1000);
}

static void put_sinks(FILE *to, struct watch *watch)
{
    static const struct {
        const char *name, *type, *help;
        size_t offset;
    } columns[] = {
        {"deliveries_total", "counter", "Events delivered.", offsetof(struct sink, delivered)},
        {"delivery_failures_total", "counter", "Attempts that failed.",
         offsetof(struct sink, failures)},
        {"given_up_total", "counter", "Events given up.", offsetof(struct sink, dropped)},
        {"waiting", "gauge", "Events to be delivered.", offsetof(struct sink, waiting)},
    };

    for (size_t i = 0; watch->sinks > 0 && i < sizeof(columns) / sizeof(columns[0]); i++) {
        head(to, columns[i].name, columns[i].type, columns[i].help);
        for (size_t k = 0; k < watch->sinks; k++) {
            atomic_ullong *value =
                (atomic_ullong *)(void *)((char *)&watch->sink[k] + columns[i].offset);

            (void)fprintf(to, NAME "%s{sink=\"%s\"} %llu\n", columns[i].name, watch->sink[k].name,
                          atomic_load(value));
        }
    }
}

/* Prometheus' text format 0.0.4; NULL when out of memory. */
static char *metrics_of(struct watch *watch, size_t *ret_len)
{
    struct watch_counts counts;
    char *text = NULL;
    FILE *to = open_memstream(&text, ret_len);

    if (to == NULL)
        return NULL;
    (void)pthread_mutex_lock(&watch->mutex);
    counts = watch->counts;
    (void)pthread_mutex_unlock(&watch->mutex);
    put_counts(to, &counts);
    put_age(to, "scan_age_seconds", "Since the last look at the store.", counts.scanned_ms);
    put_age(to, "oldest_seconds",
            "Since the last document of who is silent longest, yet not missing.", counts.oldest_ms);
    put_age(to, "newest_seconds", "Since the last document of anybody.", counts.newest_ms);
    put_sinks(to, watch);
    if (fclose(to) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, char *text,
                             size_t len, enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(len, text, mode);
    enum MHD_Result result;

    if (response == NULL) {
        if (mode == MHD_RESPMEM_MUST_FREE)
            free(text);
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, "Content-Type", "text/plain; version=0.0.4");
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **request)
{
    struct watch_metrics *server = context;
    static char missing[] = "GET /metrics\n";
    size_t len = 0;
    char *text;

    (void)version;
    (void)upload;
    (void)upload_size;
    (void)request;
    if (strcmp(method, "GET") != 0 || strcmp(url, "/metrics") != 0)
        return reply(connection, MHD_HTTP_NOT_FOUND, missing, strlen(missing),
                     MHD_RESPMEM_PERSISTENT);
    text = metrics_of(server->watch, &len);
    return text == NULL ? MHD_NO : reply(connection, MHD_HTTP_OK, text, len, MHD_RESPMEM_MUST_FREE);
}

/* How a fleet stands is nobody else's business: this machine's programs alone may ask. */
static enum mu_status loopback_address(const char *text, struct sockaddr_in *ret,
                                       struct mu_error *err)
{
    const char *colon = strrchr(text, ':');
    char host[INET_ADDRSTRLEN];
    char *end = NULL;
    unsigned long port = colon == NULL ? 0 : strtoul(colon + 1, &end, 10);

    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (port == 0 || port > UINT16_MAX || *end != '\0' || colon - text >= INET_ADDRSTRLEN)
        return mu_fail(err, MU_CONFIG, "metrics: '%.40s' is not 127.0.0.1:PORT", text);
    (void)snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    if (inet_pton(AF_INET, host, &ret->sin_addr) != 1 ||
        ntohl(ret->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
        return mu_fail(err, MU_CONFIG, "metrics: '%.40s' is no loopback address (127.0.0.1)", host);
    return MU_OK;
}

enum mu_status watch_metrics_serve(struct watch *watch, struct watch_metrics **ret,
                                   struct mu_error *err)
{
    struct watch_metrics *server = calloc(1, sizeof(*server));
    struct sockaddr_in address;
    enum mu_status status = loopback_address(watch->settings->metrics, &address, err);

    if (server == NULL)
        return mu_oom(err);
    server->watch = watch;
    if (status == MU_OK) {
        server->daemon =
            MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, answer, server,
                             MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_CONNECTION_LIMIT,
                             CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_S, MHD_OPTION_END);
        if (server->daemon == NULL)
            status = mu_fail(err, MU_CONFIG, "metrics: cannot listen on %s: %s",
                             watch->settings->metrics, strerror(errno));
    }
    if (status != MU_OK) {
        free(server);
        return status;
    }
    *ret = server;
    return MU_OK;
}

void watch_metrics_stop(struct watch_metrics **server)
{
    if (*server == NULL)
        return;
    MHD_stop_daemon((*server)->daemon);
    free(*server);
    *server = NULL;
}
