/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/watch_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet/prometheus.h"
#include "fleet/reply.h"

#define NAME "measured_unlock_watch_"
#define CONNECTIONS 16u
#define TIMEOUT_S 5u

static void put_counts(FILE *to, const struct watch_counts *counts)
{
    prometheus_head(
        to, "watch_instances", "gauge",
        "Instances by state; one that is altered or stays in boot counts as that, and as missing, "
        "too, if it is silent.");
    for (unsigned i = STANDING_OK; i < WATCH_STATES; i++) /* no instance stays new */
        (void)fprintf(to, NAME "instances{state=\"%s\"} %" PRIu64 "\n", watch_state_name(i),
                      counts->instances[i]);
    prometheus_head(to, "watch_events_total", "counter", "Events since the start, by kind.");
    for (size_t i = 0; i < EVENT_KINDS; i++)
        (void)fprintf(to, NAME "events_total{kind=\"%s\"} %" PRIu64 "\n",
                      store_event_kind_name((enum event_kind)i), counts->events[i]);
    prometheus_value(to, "watch_scans_total", "counter", "Looks at the store.",
                     (double)counts->scans);
    prometheus_value(to, "watch_scan_failures_total", "counter", "Looks at the store that failed.",
                     (double)counts->failed_scans);
    prometheus_value(to, "watch_scan_seconds", "gauge", "How long the last look took.",
                     counts->scan_seconds);
}

static void put_age(FILE *to, const char *name, const char *help, int64_t at_ms)
{
    if (at_ms != 0)
        prometheus_value(to, name, "gauge", help, (double)(watch_now_ms() - at_ms) / 1000);
}

static void put_sinks(FILE *to, struct watch *watch, const struct watch_settings *settings)
{
    static const struct {
        const char *name, *type, *help;
        size_t offset;
    } columns[] = {
        {"watch_deliveries_total", "counter", "Events delivered.",
         offsetof(struct sink, delivered)},
        {"watch_delivery_failures_total", "counter", "Attempts that failed.",
         offsetof(struct sink, failures)},
        {"watch_given_up_total", "counter", "Events given up.", offsetof(struct sink, dropped)},
        {"watch_waiting", "gauge", "Events to be delivered.", offsetof(struct sink, waiting)},
    };

    bool any = false;

    for (size_t k = 0; k < SINKS; k++)
        any = any || settings->sink[k].to != NULL;
    for (size_t i = 0; any && i < MU_COUNT(columns); i++) {
        prometheus_head(to, columns[i].name, columns[i].type, columns[i].help);
        for (size_t k = 0; k < SINKS; k++) {
            atomic_ullong *value =
                (atomic_ullong *)(void *)((char *)&watch->sink[k] + columns[i].offset);

            if (settings->sink[k].to != NULL)
                (void)fprintf(to, "measured_unlock_%s{sink=\"%s\"} %llu\n", columns[i].name,
                              sink_kinds[k].name, atomic_load(value));
        }
    }
}

/* NULL when out of memory. */
static char *metrics_of(struct watch *watch)
{
    struct watch_held *held;
    struct watch_counts counts;
    bool reload_failed;
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    if (to == NULL)
        return NULL;
    (void)pthread_mutex_lock(&watch->mutex);
    counts = watch->counts;
    reload_failed = watch->reload_failed;
    (void)pthread_mutex_unlock(&watch->mutex);
    put_counts(to, &counts);
    put_age(to, "watch_scan_age_seconds", "Since the last look at the store.", counts.scanned_ms);
    put_age(to, "watch_oldest_seconds",
            "Since the last document of the instance that is silent longest and not missing.",
            counts.oldest_ms);
    put_age(to, "watch_newest_seconds", "Since the last document of any instance.",
            counts.newest_ms);
    prometheus_value(to, "watch_reload_failed", "gauge",
                     "1 if the last reload failed; the log says why.", reload_failed);
    held = watch_hold(watch);
    put_sinks(to, watch, &held->settings);
    watch_release(watch, &held);
    if (fclose(to) != 0)
        string_free(&text);
    return text;
}

static enum MHD_Result answer(void *watch, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **request)
{
    MU_CLEANUP(string_free) char *text = NULL;

    (void)version;
    (void)upload;
    (void)upload_size;
    (void)request;
    if (strcmp(method, "GET") != 0 || strcmp(url, "/metrics") != 0)
        return reply(connection, MHD_HTTP_NOT_FOUND, PROMETHEUS_CONTENT, NULL, "GET /metrics\n");
    text = metrics_of(watch);
    return reply(connection, MHD_HTTP_OK, PROMETHEUS_CONTENT, NULL, text);
}

/* The state of a fleet is confidential: only programs on this machine may ask. */
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
        return mu_fail(err, MU_CONFIG, "metrics: '%.40s' is not a loopback address (127.0.0.1)",
                       host);
    return MU_OK;
}

enum mu_status watch_metrics_serve(struct watch *watch, const char *where, struct MHD_Daemon **ret,
                                   struct mu_error *err)
{
    struct sockaddr_in address;

    MU_TRY(loopback_address(where, &address, err));
    *ret = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, answer, watch,
                            MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_CONNECTION_LIMIT,
                            CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_S, MHD_OPTION_END);
    return *ret != NULL ? MU_OK
                        : mu_fail(err, MU_CONFIG, "metrics: cannot listen on %s: %s", where,
                                  strerror(errno));
}

void watch_metrics_stop(struct MHD_Daemon **server)
{
    MHD_stop_daemon(*server);
}
