/* SPDX-License-Identifier: GPL-2.0-or-later */
#undef MU_ANALYZE
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A failure that says "no failure" would pass for success further up. */
static enum mu_status never_ok(enum mu_status status)
{
    return status == MU_OK ? MU_INTERNAL : status;
}

enum mu_status mu_fail(struct mu_error *err, enum mu_status status, const char *format, ...)
{
    va_list args;

    err->status = never_ok(status);
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    return err->status;
}

static void append(char *to, size_t cap, const char *from)
{
    size_t used = strlen(to);
    size_t room = cap - used - 1;
    size_t len = strnlen(from, room);

    memcpy(to + used, from, len);
    to[used + len] = '\0';
}

enum mu_status mu_context(struct mu_error *err, const char *format, ...)
{
    char cause[sizeof(err->text)];
    va_list args;

    memcpy(cause, err->text, sizeof(cause));
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    append(err->text, sizeof(err->text), ": ");
    append(err->text, sizeof(err->text), cause);
    err->status = never_ok(err->status);
    return err->status;
}

enum mu_status mu_oom(struct mu_error *err)
{
    return mu_fail(err, MU_INTERNAL, "out of memory");
}

const char *mu_status_name(enum mu_status status)
{
    static const char *const names[] = {"ok", "usage", "refuse", "retry", "config", "internal"};

    return (size_t)status < MU_COUNT(names) ? names[status] : "internal";
}
