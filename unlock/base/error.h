/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_ERROR_H
#define MU_BASE_ERROR_H

/* What a failure means for the caller. The values are the exit codes of both programs. */
enum mu_status {
    MU_OK = 0,
    MU_USAGE = 1,    /* bad arguments */
    MU_REFUSE = 2,   /* something did not match; retrying cannot help */
    MU_RETRY = 3,    /* the world was not ready; retrying may help */
    MU_CONFIG = 4,   /* the configuration or the machine is unusable as it is */
    MU_INTERNAL = 5, /* a bug, or out of memory */
};

/* The first failure, in words a person can act on. Zero-initialise: { 0 }. */
struct mu_error {
    enum mu_status status;
    char text[768];
};

#define MU_MUST_CHECK __attribute__((warn_unused_result))
#define MU_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MU_CLEANUP(function) __attribute__((cleanup(function)))

/* Records the failure and returns its class, so that a caller can write
 * `return mu_fail(err, MU_REFUSE, "PCR %u: ...", pcr);`. Never MU_OK: that is MU_INTERNAL. */
enum mu_status mu_fail(struct mu_error *err, enum mu_status status, const char *format, ...)
    MU_PRINTF(3, 4);

/* Puts "context: " before the text of a failure on its way up; returns err->status, never
 * MU_OK. */
enum mu_status mu_context(struct mu_error *err, const char *format, ...) MU_PRINTF(2, 3);

/* MU_INTERNAL, "out of memory". */
enum mu_status mu_oom(struct mu_error *err);

#ifdef MU_ANALYZE
/* Analyzers see one file at a time; error.c sees to it that none of these is MU_OK. */
#define mu_fail(...) (mu_fail(__VA_ARGS__) ?: MU_INTERNAL)
#define mu_context(...) (mu_context(__VA_ARGS__) ?: MU_INTERNAL)
#define mu_oom(err) (mu_oom(err) ?: MU_INTERNAL)
#endif

/* "refuse", "retry", ... for reports. */
const char *mu_status_name(enum mu_status status);

#define MU_TRY(expression)                                                                         \
    do {                                                                                           \
        enum mu_status try_status_ = (expression);                                                 \
        if (try_status_ != MU_OK)                                                                  \
            return try_status_;                                                                    \
    } while (0)

#endif
