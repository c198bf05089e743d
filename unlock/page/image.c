/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <string.h>

#include "appraise/manifest.h"
#include "page/parts.h"

struct drawing {
    struct page *page;
    const char *id;
    size_t count;
};

/* ---- what it is ---- */

static void put_pcrs(FILE *to, const struct pcr_values *values)
{
    static const char *const columns[] = {"PCR", "SHA-384"};

    html_table_begin(to, "PCRs of a machine that started it, by firmware alone", columns,
                     MU_COUNT(columns));
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        char hex[PCR_HEX_SIZE];

        pcr_hex(values, pcr, hex);
        if (hex[0] == '\0')
            continue;
        html_row(to);
        html_head_cell(to, columns[0]);
        (void)fprintf(to, "%u", pcr);
        html_cell(to, columns[1]);
        html_text(to, hex);
    }
    html_table_end(to);
}

/* Of which the verifier looks at the signature, whenever it takes values from it. */
static void put_manifest(const struct page *page, const struct image_act *act)
{
    MU_CLEANUP(manifest_free) struct manifest manifest = {0};
    MU_CLEANUP(buffer_free) struct buffer statement = {0};
    struct mu_error why = {0};
    bool read = dsse_payload(text_view(act->envelope), &statement, &why) == MU_OK &&
                manifest_parse(buffer_view(&statement), &manifest, &why) == MU_OK &&
                strcmp(manifest.id, act->id) == 0;
    FILE *to = page->to;

    (void)fputs("<dl class=\"facts\">", to);
    html_item(to, "Name", act->name);
    html_item(to, "Version", act->version);
    html_item(to, "Kind", act->kind);
    html_item(to, "Id", act->id);
    if (read) {
        html_item(to, "Source", manifest.source);
        html_item(to, "Built by", manifest.builder);
    }
    if (read && manifest.record_version > 0) {
        html_name(to, "Version of records");
        (void)fprintf(to, "%" PRId64, manifest.record_version);
    }
    (void)fputs("\n</dl>\n", to);
    if (!read)
        (void)fputs(
            "<p class=\"warning\"><strong>Unreadable:</strong> what the store has is not the "
            "manifest of this image, and approves nothing.</p>\n",
            to);
    else if (manifest.kind == MANIFEST_IMAGE)
        put_pcrs(to, &manifest.values[MANIFEST_SHA384]);
}

/* ---- what was decided ---- */

static const char *const act_columns[] = {"Time", "Act", "By", "Until", "Why"};

static enum mu_status put_act(const struct image_act *act, void *context, struct mu_error *err)
{
    struct drawing *drawing = context;
    struct page *page = drawing->page;
    FILE *to = page->to;

    (void)err;
    if (strcmp(act->id, drawing->id) != 0)
        return MU_OK;
    if (drawing->count == 0)
        put_manifest(page, act);
    if (drawing->count++ == 0)
        html_table_begin(to, "What was decided, the oldest first", act_columns,
                         MU_COUNT(act_columns));
    html_row(to);
    html_head_cell(to, act_columns[0]);
    html_time(to, act->at_ms, page->now_ms);
    html_cell(to, act_columns[1]);
    html_text(to, store_act_name(act->act));
    html_cell(to, act_columns[2]);
    html_text(to, act->author);
    html_cell(to, act_columns[3]);
    page_until(to, act);
    html_cell(to, act_columns[4]);
    html_text(to, act->why);
    return MU_OK;
}

enum mu_status page_image(struct page *page, struct mu_error *err)
{
    struct drawing drawing = {.page = page, .id = page->value[KEY_ID]};

    if (drawing.id[0] == '\0')
        return mu_fail(err, MU_USAGE, "'id' is needed: of an image");
    (void)fputs("<h1>Image</h1>\n", page->to);
    MU_TRY(store_image_acts(page->store, put_act, &drawing, err));
    if (drawing.count == 0)
        return mu_fail(err, MU_REFUSE, "No image of that id was approved in this store.");
    html_table_end(page->to);
    (void)fputs("<p>", page->to);
    html_link(page->to, "/instances", "image", drawing.id, "Instances that run it");
    (void)fputs("</p>\n", page->to);
    return MU_OK;
}
