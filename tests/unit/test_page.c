/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test.h"
#include "page/page.h"
#include "page/html.h"
#include "verifier/page_server.h"

#define NOW 1770000000000
#define ONE "i-00000000000000001"

static struct store *store;

void before_all(void)
{
    char place[256];

    (void)snprintf(place, sizeof(place), "sqlite:%s", temp_path("page"));
    if (store_open(place, STORE_MAKE, &store, &err) != MU_OK)
        fail_msg("%s", err.text);
}

static void record(const char *id, bool ok, const char *detail, const char *address)
{
    const struct attestation a = {.instance_id = id,
                                  .at_ms = NOW - 1000,
                                  .ok = ok,
                                  .baseline = "web",
                                  .baseline_version = "7",
                                  .state = "running",
                                  .detail = detail,
                                  .address = address};

    if (store_record(store, &a, &err) != MU_OK)
        fail_msg("%s", err.text);
}

static struct page_answer ask_with(const char *path, const struct page_argument *argument,
                                   size_t arguments)
{
    const struct page_request request = {path, argument, arguments, NOW};
    struct page_answer answer;

    page_render(store, &request, &answer);
    assert_non_null(answer.text);
    return answer;
}

static struct page_answer ask(const char *path, const char *name, const char *value)
{
    const struct page_argument argument = {name, value};

    return ask_with(path, &argument, name != NULL ? 1 : 0);
}

static void assert_answer(struct page_answer answer, unsigned status, const char *has)
{
    if (answer.status != status || strstr(answer.text, has) == NULL)
        fail_msg("%u, without '%s': %s", answer.status, has, answer.text);
    page_answer_free(&answer);
}

/* ---- text ---- */

static void assert_text(const char *text, const char *html)
{
    char *written = NULL;
    size_t len;
    FILE *to = open_memstream(&written, &len);

    html_text(to, text);
    (void)fclose(to);
    assert_string_equal(written, html);
    free(written);
}

TEST(test_text)
{
    assert_text("PCR 4", "PCR 4");
    assert_text("<script>alert('1')</script>", "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;");
    assert_text("\" onload=x &amp;", "&quot; onload=x &amp;amp;");
    assert_text("a\x1b[31m\n\x7f", "a\\x1b[31m\\x0a\\x7f");
    assert_text("\xe2\x80\xae"
                "exe",
                "\\u202eexe"); /* right-to-left override */
    assert_text("\xff\xc0\x80", "\\xff\\xc0\\x80");
    assert_text("\xc3\xa9", "\xc3\xa9");
}

TEST(test_long_text_ends)
{
    char text[20001], *written = NULL;
    size_t len;
    FILE *to = open_memstream(&written, &len);

    memset(text, '<', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    html_text(to, text);
    (void)fclose(to);
    assert_string_equal(written + len - 7, "&lt;...");
    free(written);
}

TEST(test_link)
{
    char *written = NULL;
    size_t len;
    FILE *to = open_memstream(&written, &len);

    html_link(to, "/instance", "id", "i-<&\"%/", NULL);
    (void)fclose(to);
    assert_string_equal(written,
                        "<a href=\"/instance?id=i-%3C%26%22%25%2F\">i-&lt;&amp;&quot;%/</a>");
    free(written);
}

/* ---- who may look ---- */

TEST(test_token)
{
    static const struct {
        const char *authorization;
        bool fits;
    } rows[] = {
        {"Bearer sixteen-letters.", true},
        {"bearer sixteen-letters.", true},
        {"Basic YWRhOnNpeHRlZW4tbGV0dGVycy4=", true}, /* ada: */
        {"Basic OnNpeHRlZW4tbGV0dGVycy4=", true},     /* no user */
        {NULL, false},
        {"", false},
        {"Bearer ", false},
        {"Bearer sixteen-letters", false},
        {"Bearer sixteen-letters,", false},
        {"Bearer sixteen-letters.x", false},
        {"sixteen-letters.", false},
        {"Digest sixteen-letters.", false},
        {"Basic sixteen-letters.", false},
        {"Basic c2l4dGVlbi1sZXR0ZXJzLg==", false}, /* without a colon */
        {"Basic YWRhOg==", false},                 /* empty */
        {"Basic ", false},
    };
    MU_CLEANUP(secret_free) struct secret token = {0};

    assert_int_equal(secret_alloc(&token, 16, &err), MU_OK);
    memcpy(token.data, "sixteen-letters.", 16);
    for (size_t i = 0; i < MU_COUNT(rows); i++)
        if (page_token_fits(rows[i].authorization, &token) != rows[i].fits)
            fail_msg("%s", rows[i].authorization ?: "no header");
}

/* ---- answers ---- */

TEST(test_queries_that_are_none)
{
    static const struct {
        const char *path, *name, *value;
        unsigned status;
    } rows[] = {
        {"/", "hours", "24", 200},
        {"/", "hours", "", 200},
        {"/", "hours", "25", 400},
        {"/", "hours", "024", 400},
        {"/", "state", "", 400},
        {"/", "HOURS", "24", 400},
        {"/instances", "state", "missing", 200},
        {"/instances", "state", "ok", 400},
        {"/instances", "after", "i-1", 200},
        {"/instances", "after", NULL, 400},
        {"/instances", "after", "i-\x01", 400},
        {"/instances", "after", "\xc3\xa9", 400},
        {"/instance", "id", "", 400},
        {"/instance", NULL, NULL, 400},
        {"/instance", "id", "i-unknown", 404},
        {"/images", "x", "y", 400},
        {"/images", NULL, NULL, 200},
        {"/image", "id", "aa", 404},
        {"/image", NULL, NULL, 400},
        {"/nothing", NULL, NULL, 404},
        {"//", NULL, NULL, 404},
        {"/style.css", NULL, NULL, 200},
        {"/style.css", "x", "y", 404},
    };
    char large[200];

    for (size_t i = 0; i < MU_COUNT(rows); i++) {
        struct page_answer answer = ask(rows[i].path, rows[i].name, rows[i].value);

        if (answer.status != rows[i].status)
            fail_msg("%s %s=%s: %u", rows[i].path, rows[i].name ?: "", rows[i].value ?: "",
                     answer.status);
        page_answer_free(&answer);
    }
    memset(large, 'a', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    assert_answer(ask("/instance", "id", large), 400, "less than 128 characters");
}

TEST(test_an_argument_counts_once)
{
    const struct page_argument twice[] = {{"state", "missing"}, {"state", "missing"}};

    assert_answer(ask_with("/instances", twice, 1), 200, "<h1>Instances</h1>");
    assert_answer(ask_with("/instances", twice, 2), 400, "&#39;state&#39; is given twice");
}

TEST(test_what_an_instance_sends_is_text)
{
    record(ONE, false, "<script>alert(1)</script>", "\"><b>");
    for (size_t i = 0; i < 3; i++) {
        struct page_answer answer = i == 0   ? ask("/", NULL, NULL)
                                    : i == 1 ? ask("/instances", NULL, NULL)
                                             : ask("/instance", "id", ONE);

        assert_int_equal(answer.status, 200);
        assert_null(strstr(answer.text, "<script"));
        assert_null(strstr(answer.text, "<b>"));
        assert_non_null(strstr(answer.text, "&lt;script&gt;alert(1)&lt;/script&gt;"));
        page_answer_free(&answer);
    }
}

/* Words of a verifier, cut off within the last PCR, and words of another kind. */
TEST(test_what_differs)
{
    record(ONE, false,
           "no baseline matches; closest is web (running): PCR 4: expected 0123..., found 89ab...; "
           "PCR 7: expected 4567..., found nothing; PCR 12: expec",
           "192.0.2.1");
    assert_answer(ask("/instance", "id", ONE), 200, "closest is web (running):");
    assert_answer(ask("/instance", "id", ONE), 200, "data-column=\"Found\">89ab...");
    assert_answer(ask("/instance", "id", ONE), 200, "data-column=\"Found\">nothing");
    assert_answer(ask("/instance", "id", ONE), 200, "<p>PCR 12: expec</p>");
    record(ONE, false, "PCR 4: expected 0123..., found 89ab...", "192.0.2.1");
    assert_answer(ask("/instance", "id", ONE), 200, "data-column=\"Expected\">0123...");
    record(ONE, false, "image web was revoked", "192.0.2.1");
    assert_answer(ask("/instance", "id", ONE), 200, "<p>image web was revoked</p>");
}

/* Nothing was counted, which is not the same as no instance. */
TEST(test_without_a_watch)
{
    struct page_answer answer = ask("/", NULL, NULL);

    assert_non_null(strstr(answer.text, "No counts:"));
    assert_null(strstr(answer.text, "class=\"tiles\""));
    assert_non_null(strstr(answer.text, "In this time the watch wrote nothing."));
    page_answer_free(&answer);
}
