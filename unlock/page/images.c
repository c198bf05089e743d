/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "page/parts.h"

#define ID_SHOWN 12

void page_image_link(FILE *to, const char *id)
{
    char digits[ID_SHOWN + 1];

    (void)snprintf(digits, sizeof(digits), "%s", id);
    if (id[0] != '\0')
        html_link(to, "/image", "id", id, digits);
    else
        (void)fputs("none", to);
}

/* How many instances' last document matched an image, alone or behind a boot loader. */
struct roll_out {
    struct pair {
        char *image, *boot_loader;
        int64_t instances;
    } * pair;
    size_t count;
};

static void roll_out_free(struct roll_out *roll_out)
{
    for (size_t i = 0; i < roll_out->count; i++) {
        free(roll_out->pair[i].image);
        free(roll_out->pair[i].boot_loader);
    }
    free(roll_out->pair);
}

static enum mu_status keep_pair(const char *image, const char *boot_loader, int64_t instances,
                                void *context, struct mu_error *err)
{
    struct roll_out *roll_out = context;
    struct pair *more = reallocarray(roll_out->pair, roll_out->count + 1, sizeof(*more));

    if (more == NULL)
        return mu_oom(err);
    roll_out->pair = more;
    more += roll_out->count++;
    *more = (struct pair){strdup(image), strdup(boot_loader), instances};
    return more->image != NULL && more->boot_loader != NULL ? MU_OK : mu_oom(err);
}

static int64_t runs_on(const struct roll_out *roll_out, const char *id)
{
    int64_t count = 0;

    for (size_t i = 0; i < roll_out->count; i++)
        if (strcmp(roll_out->pair[i].image, id) == 0 ||
            strcmp(roll_out->pair[i].boot_loader, id) == 0)
            count += roll_out->pair[i].instances;
    return count;
}

struct drawing {
    struct page *page;
    struct roll_out roll_out;
    size_t count;
};

void page_until(FILE *to, const struct image_act *act)
{
    if (act->act == ACT_REVOKE)
        (void)fputs("-", to);
    else if (act->until_ms == 0)
        (void)fputs("for good", to);
    else
        html_date(to, act->until_ms);
}

static const char *const list_columns[] = {"Image", "Kind",  "State", "By",
                                           "When",  "Until", "Why",   "Instances"};

static enum mu_status put_image(const struct image_act *act, void *context, struct mu_error *err)
{
    struct drawing *drawing = context;
    struct page *page = drawing->page;
    FILE *to = page->to;
    const char *state = store_act_state(act, page->now_ms);
    char number[24];

    (void)err;
    if (drawing->count++ == 0)
        html_table_begin(to, "Images and their roll-out", list_columns, MU_COUNT(list_columns));
    html_row(to);
    html_head_cell(to, list_columns[0]);
    html_text(to, act->name);
    (void)fputs(" ", to);
    html_text(to, act->version);
    (void)fputs(" ", to);
    page_image_link(to, act->id);
    html_cell(to, list_columns[1]);
    html_text(to, act->kind);
    html_cell(to, list_columns[2]);
    (void)fprintf(to, "<span class=\"state %s\">%s</span>", state, state);
    html_cell(to, list_columns[3]);
    html_text(to, act->author);
    html_cell(to, list_columns[4]);
    html_age(to, act->at_ms, page->now_ms);
    html_cell(to, list_columns[5]);
    page_until(to, act);
    html_cell(to, list_columns[6]);
    html_text(to, act->why);
    html_cell(to, list_columns[7]);
    (void)snprintf(number, sizeof(number), "%" PRId64, runs_on(&drawing->roll_out, act->id));
    html_link(to, "/instances", "image", act->id, number);
    return MU_OK;
}

static enum mu_status draw_images(struct drawing *drawing, struct mu_error *err)
{
    FILE *to = drawing->page->to;

    (void)fputs("<h1>Images</h1>\n", to);
    MU_TRY(store_roll_out(drawing->page->store, keep_pair, &drawing->roll_out, err));
    MU_TRY(store_images(drawing->page->store, put_image, drawing, err));
    if (drawing->count > 0)
        html_table_end(to);
    else
        (void)fputs("<p>No image was approved in this store: the verifier compares with files of "
                    "baselines.</p>\n",
                    to);
    (void)fputs(
        "<p>Instances are those whose last document was good and matched the image; one that "
        "is behind a boot loader counts for both.</p>\n",
        to);
    return MU_OK;
}

enum mu_status page_images(struct page *page, struct mu_error *err)
{
    struct drawing drawing = {.page = page};
    enum mu_status status = draw_images(&drawing, err);

    roll_out_free(&drawing.roll_out);
    return status;
}
