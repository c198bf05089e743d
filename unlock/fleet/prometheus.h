/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_FLEET_PROMETHEUS_H
#define MU_FLEET_PROMETHEUS_H

#include <stdio.h>

/* Prometheus' text format 0.0.4; `name` is without "measured_unlock_". */
#define PROMETHEUS_CONTENT "text/plain; version=0.0.4"

/* The lines before a metric's values. */
static inline void prometheus_head(FILE *to, const char *name, const char *type, const char *help)
{
    (void)fprintf(to, "# HELP measured_unlock_%s %s\n# TYPE measured_unlock_%s %s\n", name, help,
                  name, type);
}

/* A whole metric that has no labels. */
static inline void prometheus_value(FILE *to, const char *name, const char *type, const char *help,
                                    double value)
{
    prometheus_head(to, name, type, help);
    (void)fprintf(to, "measured_unlock_%s %.15g\n", name, value); /* 15: integers as they are */
}

/* What stands between the quotation marks of a label. */
static inline void prometheus_label(FILE *to, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            (void)fputc('\\', to);
        (void)fputc(*text == '\n' ? ' ' : *text, to);
    }
}

#endif
