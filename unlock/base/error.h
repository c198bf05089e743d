/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_ERROR_H
#define MU_BASE_ERROR_H

/* What a failure means for the caller. The values are the exit codes of the programs. */
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
/* The compiler drops tests for NULL of such parameters: not for functions that make them. */
/* Not for variadic functions: clang takes it to mean what stands for "..." as well. */
#define MU_NONNULL __attribute__((nonnull))
#define MU_NONNULL_AT(...) __attribute__((nonnull(__VA_ARGS__)))
#define MU_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MU_CLEANUP(function) __attribute__((cleanup(function)))
#define MU_COUNT(array) (sizeof(array) / sizeof((array)[0]))
/* Moves ownership: returns the value of the variable, which owns nothing afterwards. */
#define MU_TAKE(owner)                                                                             \
    ({                                                                                             \
        __typeof__(owner) taken_ = (owner);                                                        \
        (owner) = (__typeof__(owner)){0};                                                          \
        taken_;                                                                                    \
    })

/* Records the failure and returns its class, so that a caller can write `return mu_fail(err,
 * MU_REFUSE, "PCR %u: ...", pcr);`. Never returns MU_OK: a `status` of MU_OK becomes
 * MU_INTERNAL. */
enum mu_status mu_fail(struct mu_error *err, enum mu_status status, const char *format, ...)
    MU_PRINTF(3, 4) MU_NONNULL_AT(1, 3);

/* Puts "context: " before the text of a failure on its way up; returns err->status, never
 * MU_OK. */
enum mu_status mu_context(struct mu_error *err, const char *format, ...) MU_PRINTF(2, 3)
    MU_NONNULL_AT(1, 2);

/* MU_INTERNAL, "out of memory". */
enum mu_status mu_oom(struct mu_error *err) MU_NONNULL;

#ifdef MU_ANALYZE
/* An analyzer sees one file at a time; error.c makes sure that none of these returns MU_OK. */
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
