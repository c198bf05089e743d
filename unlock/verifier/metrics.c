/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet/prometheus.h"

static const uint64_t bounds_us[METRICS_BUCKETS] = {
    1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000};

void metrics_init(struct metrics *metrics)
{
    *metrics = (struct metrics){0};
    (void)pthread_mutex_init(&metrics->lock, NULL);
}

void metrics_count_request(struct metrics *metrics, const char *path, unsigned status)
{
    (void)pthread_mutex_lock(&metrics->lock);
    for (size_t i = 0; i < MU_COUNT(metrics->request); i++) {
        struct metrics_request *request = &metrics->request[i];

        if (request->path != NULL && (request->path != path || request->status != status))
            continue;
        *request = (struct metrics_request){path, status, request->count + 1};
        break;
    }
    (void)pthread_mutex_unlock(&metrics->lock);
}

static bool is_of(const struct metrics_result *at, const char *result, const char *baseline,
                  const char *version)
{
    return strcmp(at->result, result) == 0 && strcmp(at->baseline, baseline) == 0 &&
           strncmp(at->version, version, METRICS_NAME_MAX - 1) == 0;
}

static void count_result(struct metrics *metrics, const char *result, const char *baseline,
                         const char *version)
{
    struct metrics_result *at = metrics->result, *last = at + METRICS_RESULTS - 1;

    while (at < last && at->result != NULL && !is_of(at, result, baseline, version))
        at++;
    if (at->result == NULL) {
        at->result = result;
        (void)snprintf(at->baseline, sizeof(at->baseline), "%s", at < last ? baseline : "other");
        (void)snprintf(at->version, sizeof(at->version), "%s", at < last ? version : "");
    }
    at->count++;
}

void metrics_count_attestation(struct metrics *metrics, const char *result, const char *baseline,
                               const char *version, uint64_t took_us)
{
    size_t bucket = 0;

    while (bucket < METRICS_BUCKETS && took_us > bounds_us[bucket])
        bucket++;
    (void)pthread_mutex_lock(&metrics->lock);
    count_result(metrics, result, baseline, version);
    metrics->bucket[bucket]++;
    metrics->sum_us += took_us;
    (void)pthread_mutex_unlock(&metrics->lock);
}

static void write_counters(FILE *to, const struct metrics *metrics)
{
    prometheus_head(to, "verifier_requests_total", "counter",
                    "Requests answered, by path and HTTP status.");
    for (size_t i = 0; i < MU_COUNT(metrics->request) && metrics->request[i].path != NULL; i++)
        (void)fprintf(
            to, "measured_unlock_verifier_requests_total{path=\"%s\",status=\"%u\"} %" PRIu64 "\n",
            metrics->request[i].path, metrics->request[i].status, metrics->request[i].count);
    prometheus_head(to, "verifier_attestations_total", "counter",
                    "Attestations judged, by result, and the baseline or image that matched.");
    for (size_t i = 0; i < METRICS_RESULTS && metrics->result[i].result != NULL; i++) {
        const struct metrics_result *at = &metrics->result[i];

        (void)fprintf(to, "measured_unlock_verifier_attestations_total{result=\"%s\",baseline=\"",
                      at->result);
        prometheus_label(to, at->baseline);
        (void)fputs("\",version=\"", to);
        prometheus_label(to, at->version);
        (void)fprintf(to, "\"} %" PRIu64 "\n", at->count);
    }
}

static void write_histogram(FILE *to, const struct metrics *metrics)
{
    uint64_t below = 0;

    prometheus_head(to, "verifier_attestation_seconds", "histogram",
                    "Time to judge an attestation.");
    for (size_t i = 0; i < METRICS_BUCKETS; i++) {
        below += metrics->bucket[i];
        (void)fprintf(
            to, "measured_unlock_verifier_attestation_seconds_bucket{le=\"%g\"} %" PRIu64 "\n",
            (double)bounds_us[i] / 1e6, below);
    }
    below += metrics->bucket[METRICS_BUCKETS];
    (void)fprintf(to,
                  "measured_unlock_verifier_attestation_seconds_bucket{le=\"+Inf\"} %" PRIu64
                  "\nmeasured_unlock_verifier_attestation_seconds_sum %.6f\n"
                  "measured_unlock_verifier_attestation_seconds_count %" PRIu64 "\n",
                  below, (double)metrics->sum_us / 1e6, below);
}

static void write_state(FILE *to, const struct metrics_state *state)
{
    prometheus_value(to, "verifier_certificate_expiry_seconds", "gauge",
                     "When the TLS certificate expires, in seconds since 1970.",
                     (double)state->certificate_until);
    prometheus_value(to, "verifier_healthy", "gauge",
                     "1 if keys, baselines and certificate are usable.", state->healthy);
    prometheus_value(to, "verifier_connections", "gauge", "Open connections.", state->connections);
}

enum mu_status metrics_text(struct metrics *metrics, const struct metrics_state *state, char **ret,
                            struct mu_error *err)
{
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);

    if (to == NULL)
        return mu_oom(err);
    (void)pthread_mutex_lock(&metrics->lock);
    write_counters(to, metrics);
    write_histogram(to, metrics);
    (void)pthread_mutex_unlock(&metrics->lock);
    write_state(to, state);
    if (fclose(to) != 0) {
        free(text);
        return mu_oom(err);
    }
    *ret = text;
    return MU_OK;
}
