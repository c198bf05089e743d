/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stddef.h>

#include "page/parts.h"

#define WIDTH 600
#define HEIGHT 120
#define MARGIN 6 /* above and below a line */

struct series {
    const char *name, *title, *description;
    size_t offset;
};

static const struct series all[] = {
    {"mismatch", "Mismatch", "instances that differ from every baseline",
     offsetof(struct sample, mismatch)},
    {"missing", "Missing", "instances that are silent", offsetof(struct sample, missing)},
    {"overdue", "Boot overdue", "instances that stay in the state boot",
     offsetof(struct sample, boot_overdue)},
    {"ok", "Good", "instances whose last document was good", offsetof(struct sample, ok)},
};

static int64_t value_of(const struct sample *sample, const struct series *series)
{
    return *(const int64_t *)(const void *)((const char *)sample + series->offset);
}

/* A step at each value. Where more than one step was not seen there is no line. */
static void put_line(FILE *to, const struct plot *plot, const struct series *series, int64_t most)
{
    double scale = (double)WIDTH / (double)(plot->until_ms - plot->from_ms);
    double height = (double)(HEIGHT - 2 * MARGIN) / (double)(most > 0 ? most : 1);
    int64_t end = 0;

    (void)fprintf(to, "<path class=\"%s\" d=\"", series->name);
    for (size_t i = 0; i < plot->samples; i++) {
        const struct sample *sample = &plot->sample[i];
        double x = (double)(sample->at_ms - plot->from_ms) * scale;
        double y = HEIGHT - MARGIN - (double)value_of(sample, series) * height;

        (void)fprintf(to, "%c%.1f %.1f", i == 0 || sample->at_ms > end + plot->step_ms ? 'M' : 'L',
                      x > 0 ? x : 0.0, y);
        end = sample->at_ms + plot->step_ms;
        x = (double)(end - plot->from_ms) * scale;
        (void)fprintf(to, "H%.1f", x < WIDTH ? x : (double)WIDTH);
    }
    (void)fputs("\"/>", to);
}

static void put_plot(FILE *to, const struct plot *plot, const struct series *series)
{
    int64_t most = 0, last = value_of(&plot->sample[plot->samples - 1], series);

    for (size_t i = 0; i < plot->samples; i++) {
        int64_t value = value_of(&plot->sample[i], series);

        most = value > most ? value : most;
    }
    (void)fprintf(to,
                  "<figure>\n<figcaption>%s: %" PRId64 " last, at most %" PRId64 "</figcaption>\n"
                  "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"t-%s d-%s\" "
                  "preserveAspectRatio=\"none\">"
                  "<title id=\"t-%s\">%s over time</title><desc id=\"d-%s\">How many %s: %" PRId64
                  " last, at most %" PRId64 ". The figures are in the table below.</desc>"
                  "<path class=\"axis\" d=\"M0 %dH%d\"/>",
                  series->title, last, most, WIDTH, HEIGHT, series->name, series->name,
                  series->name, series->title, series->name, series->description, last, most,
                  HEIGHT - MARGIN, WIDTH);
    put_line(to, plot, series, most);
    (void)fputs("</svg>\n<p class=\"range\">", to);
    html_date(to, plot->from_ms);
    html_date(to, plot->until_ms);
    (void)fputs("</p>\n</figure>\n", to);
}

static void put_figures(FILE *to, const struct plot *plot)
{
    static const char *const columns[] = {"From",         "Mismatch", "Missing",
                                          "Boot overdue", "Good",     "New"};

    (void)fputs("<details>\n<summary>The figures</summary>\n", to);
    html_table_begin(to, "Instances over time, the worst of each step", columns, MU_COUNT(columns));
    for (size_t i = plot->samples; i-- > 0;) {
        html_row(to);
        html_head_cell(to, columns[0]);
        html_date(to, plot->sample[i].at_ms);
        for (size_t k = 0; k < MU_COUNT(all); k++) {
            html_cell(to, columns[k + 1]);
            (void)fprintf(to, "%" PRId64, value_of(&plot->sample[i], &all[k]));
        }
        html_cell(to, columns[MU_COUNT(columns) - 1]);
        (void)fprintf(to, "%" PRId64 "", plot->sample[i].first_seen);
    }
    html_table_end(to);
    (void)fputs("</details>\n", to);
}

void page_plot(FILE *to, const struct plot *plot)
{
    if (plot->samples == 0) {
        (void)fputs("<p>In this time the watch wrote nothing.</p>\n", to);
        return;
    }
    (void)fputs("<div class=\"plots\">\n", to);
    for (size_t i = 0; i < MU_COUNT(all); i++)
        put_plot(to, plot, &all[i]);
    (void)fputs("</div>\n", to);
    put_figures(to, plot);
}
