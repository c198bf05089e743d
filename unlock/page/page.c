/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "page/page.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "page/parts.h"

#define HTML "text/html; charset=utf-8"
#define KEY(key) (1u << (key))
#define SENTENCE_AWAY                                                                              \
    "The store cannot be read now, so this page does not know how the fleet is. The log of the "   \
    "verifier says why. Try again."

static const char *const key_names[PAGE_KEYS] = {"hours", "state", "image", "after", "id"};

static const struct page_path {
    const char *path, *title;
    enum mu_status (*draw)(struct page *page, struct mu_error *err);
    unsigned keys;   /* that its query may have */
    const char *nav; /* path of the page in the navigation that it belongs to */
} paths[] = {
    {"/", "Fleet", page_fleet, KEY(KEY_HOURS), "/"},
    {"/instances", "Instances", page_instances, KEY(KEY_STATE) | KEY(KEY_IMAGE) | KEY(KEY_AFTER),
     "/instances"},
    {"/instance", "Instance", page_instance, KEY(KEY_ID), "/instances"},
    {"/images", "Images", page_images, 0, "/images"},
    {"/image", "Image", page_image, KEY(KEY_ID), "/images"},
};

void page_answer_free(struct page_answer *answer)
{
    string_free(&answer->text);
}

/* ---- around every page ---- */

static void put_head(FILE *to, const char *title, const char *nav)
{
    (void)fprintf(
        to,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<title>%s - measured-unlock</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n"
        "</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the content</a>\n"
        "<header>\n<p>measured-unlock</p>\n<nav aria-label=\"Pages\">\n<ul>",
        title);
    for (size_t i = 0; i < MU_COUNT(paths); i++) {
        bool here = strcmp(paths[i].path, nav) == 0;

        if (strcmp(paths[i].path, paths[i].nav) == 0)
            (void)fprintf(to, "\n<li><a href=\"%s\"%s>%s</a></li>", paths[i].path,
                          here ? " aria-current=\"page\"" : "", paths[i].title);
    }
    (void)fputs("\n</ul>\n</nav>\n</header>\n<main id=\"main\" tabindex=\"-1\">\n", to);
}

static void put_foot(FILE *to)
{
    (void)fputs("</main>\n</body>\n</html>\n", to);
}

static char *closed(FILE *to, char **text)
{
    if (fclose(to) != 0)
        string_free(text);
    return *text;
}

void page_refuse(const char *title, unsigned status, const char *sentence, struct page_answer *ret)
{
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    ret->status = status;
    ret->content_type = HTML;
    ret->text = NULL;
    if (to == NULL)
        return;
    put_head(to, title, "");
    (void)fprintf(to, "<h1>%s</h1>\n<p>", title);
    html_text(to, sentence);
    (void)fputs("</p>\n", to);
    put_foot(to);
    ret->text = closed(to, &text);
}

/* ---- queries ---- */

static enum mu_status take_argument(const struct page_argument *argument, unsigned allowed,
                                    struct page *page, struct mu_error *err)
{
    for (unsigned key = 0; key < PAGE_KEYS; key++) {
        if ((allowed & KEY(key)) == 0 || strcmp(argument->name, key_names[key]) != 0)
            continue;
        if (page->value[key] != NULL)
            return mu_fail(err, MU_USAGE, "'%s' is given twice", key_names[key]);
        if (argument->value == NULL || strlen(argument->value) >= PAGE_ID_MAX ||
            !text_is_printable(text_view(argument->value)))
            return mu_fail(err, MU_USAGE, "'%s' is not a printable text of less than %d characters",
                           key_names[key], PAGE_ID_MAX);
        page->value[key] = argument->value;
        return MU_OK;
    }
    return mu_fail(err, MU_USAGE, "there is no '%.40s' in the query of this path", argument->name);
}

static enum mu_status take_query(const struct page_request *request, unsigned allowed,
                                 struct page *page, struct mu_error *err)
{
    for (size_t i = 0; i < request->arguments; i++)
        MU_TRY(take_argument(&request->argument[i], allowed, page, err));
    for (unsigned key = 0; key < PAGE_KEYS; key++)
        if (page->value[key] == NULL)
            page->value[key] = "";
    return MU_OK;
}

/* ---- answering ---- */

static enum mu_status draw(const struct page_path *path, const struct page_request *request,
                           struct store *store, char **ret, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *text = NULL;
    size_t len;
    struct page page = {.store = store, .now_ms = request->now_ms};
    enum mu_status status;

    MU_TRY(take_query(request, path->keys, &page, err));
    page.to = open_memstream(&text, &len);
    if (page.to == NULL)
        return mu_oom(err);
    put_head(page.to, path->title, path->nav);
    status = path->draw(&page, err);
    put_foot(page.to);
    if (closed(page.to, &text) == NULL)
        return mu_oom(err);
    MU_TRY(status);
    *ret = MU_TAKE(text);
    return MU_OK;
}

static void refuse_error(struct page_answer *ret)
{
    if (ret->why.status == MU_USAGE)
        page_refuse("This address cannot be answered", 400, ret->why.text, ret);
    else if (ret->why.status == MU_REFUSE)
        page_refuse("Not found", 404, ret->why.text, ret);
    else
        page_refuse("No answer now", 503, SENTENCE_AWAY, ret);
}

void page_render(struct store *store, const struct page_request *request, struct page_answer *ret)
{
    *ret = (struct page_answer){.status = 200, .content_type = HTML};
    if (strcmp(request->path, "/style.css") == 0 && request->arguments == 0) {
        ret->content_type = "text/css; charset=utf-8";
        ret->text = strdup(page_style);
        return;
    }
    for (size_t i = 0; i < MU_COUNT(paths); i++) {
        if (strcmp(paths[i].path, request->path) != 0)
            continue;
        if (draw(&paths[i], request, store, &ret->text, &ret->why) != MU_OK)
            refuse_error(ret);
        return;
    }
    (void)mu_fail(&ret->why, MU_REFUSE, "There is no page at this address.");
    refuse_error(ret);
}
