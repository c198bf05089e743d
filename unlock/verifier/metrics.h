/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_METRICS_H
#define MU_VERIFIER_METRICS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Counters for Prometheus, in its text format 0.0.4. */

#define METRICS_PATHS 8
#define METRICS_STATUSES 16
#define METRICS_RESULTS 512
#define METRICS_NAME_MAX 65
#define METRICS_BUCKETS 12

struct metrics {
    pthread_mutex_t lock;
    struct metrics_request {
        const char *path;
        unsigned status;
        uint64_t count;
    } request[METRICS_PATHS * METRICS_STATUSES];
    struct metrics_result {
        const char *result;
        char baseline[METRICS_NAME_MAX], version[METRICS_NAME_MAX]; /* empty: none matched */
        uint64_t count;
    } result[METRICS_RESULTS];
    uint64_t bucket[METRICS_BUCKETS + 1], sum_us;
};

/* Values of the present moment, beside the counters. */
struct metrics_state {
    int64_t certificate_until; /* seconds since 1970 */
    bool healthy;
    unsigned connections;
};

void metrics_init(struct metrics *metrics);
/* Paths and results are string constants. Beyond METRICS_RESULTS kinds, baselines count as "other".
 */
void metrics_count_request(struct metrics *metrics, const char *path, unsigned status);
void metrics_count_attestation(struct metrics *metrics, const char *result, const char *baseline,
                               const char *version, uint64_t took_us);
enum mu_status metrics_text(struct metrics *metrics, const struct metrics_state *state, char **ret,
                            struct mu_error *err) MU_MUST_CHECK;

#endif
