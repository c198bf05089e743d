/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/page_server.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>

#include "base/clock.h"
#include "base/time.h"
#include "fleet/journal.h"
#include "page/page.h"

#define CONNECTIONS 64u
#define CONNECTIONS_PER_ADDRESS 16u
#define ARGUMENTS_MAX 8
#define AUTHORIZATION_MAX 1024

struct page_server {
    struct shared *shared;
    const struct verifier *verifier;
    struct MHD_Daemon *daemon;
};

/* ---- who may look ---- */

static bool begins(const char *text, const char *word)
{
    return strncasecmp(text, word, strlen(word)) == 0;
}

bool page_token_fits(const char *authorization, const struct secret *token)
{
    MU_CLEANUP(buffer_wipe) struct buffer pair = {0};
    struct mu_error ignored = {0};
    const char *password;

    if (authorization == NULL || strlen(authorization) > AUTHORIZATION_MAX)
        return false;
    if (begins(authorization, "Bearer "))
        return bytes_equal(text_view(authorization + strlen("Bearer ")), secret_view(token));
    if (!begins(authorization, "Basic ") ||
        base64_decode(authorization + strlen("Basic "), AUTHORIZATION_MAX, MU_REFUSE, &pair,
                      &ignored) != MU_OK)
        return false;
    password = memchr(pair.data, ':', pair.len);
    return password != NULL &&
           bytes_equal((struct bytes){(const uint8_t *)password + 1,
                                      pair.len - (size_t)(password + 1 - (char *)pair.data)},
                       secret_view(token));
}

/* libmicrohttpd asks for a certificate, and takes any and none. */
static bool has_certificate(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    gnutls_typed_vdata_st purpose = {GNUTLS_DT_KEY_PURPOSE_OID, (void *)GNUTLS_KP_TLS_WWW_CLIENT,
                                     0};
    unsigned status = 1;

    return info != NULL &&
           gnutls_certificate_verify_peers(info->tls_session, &purpose, 1, &status) == 0 &&
           status == 0;
}

/* What may not be said to a stranger: everything but that. */
static bool refuse_stranger(const struct page_server *page, struct MHD_Connection *connection,
                            struct page_answer *ret)
{
    const struct verifier *verifier = page->verifier;
    const struct settings *settings = &verifier->settings;
    struct source source = source_of(server_sender(connection));

    if (!limiter_take(&page->shared->looks, &source, settings->requests_per_second, settings->burst,
                      clock_now_us()))
        page_refuse("Too many requests", MHD_HTTP_TOO_MANY_REQUESTS,
                    "More requests than [limits] allows came from this address. Wait a moment.",
                    ret);
    else if (verifier->page_ca.data != NULL && !has_certificate(connection))
        page_refuse("No certificate", MHD_HTTP_FORBIDDEN,
                    "A client certificate of the authority in client_ca is needed.", ret);
    else if (verifier->page_token.data != NULL &&
             !page_token_fits(MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                                          MHD_HTTP_HEADER_AUTHORIZATION),
                              &verifier->page_token))
        page_refuse("Who are you?", MHD_HTTP_UNAUTHORIZED,
                    "The token of token_file is needed, as the password of any user.", ret);
    return ret->status != 0;
}

/* ---- answering ---- */

struct query {
    struct page_argument argument[ARGUMENTS_MAX];
    size_t count;
};

static enum MHD_Result take_argument(void *context, enum MHD_ValueKind kind, const char *name,
                                     size_t name_len, const char *value, size_t len)
{
    struct query *query = context;
    bool whole = strlen(name) == name_len && value != NULL && strlen(value) == len;

    (void)kind;
    if (query->count == ARGUMENTS_MAX)
        return MHD_NO;
    query->argument[query->count++] = (struct page_argument){name, whole ? value : NULL};
    return MHD_YES;
}

static void answer_page(const struct page_server *page, struct MHD_Connection *connection,
                        const char *path, const char *method, struct page_answer *ret)
{
    struct query query = {.count = 0};
    struct page_request request = {.path = path, .now_ms = (int64_t)time_now_ms()};

    if (refuse_stranger(page, connection, ret))
        return;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        page_refuse("Only for reading", MHD_HTTP_METHOD_NOT_ALLOWED,
                    "Only GET and HEAD are answered here: nothing can be changed.", ret);
        return;
    }
    /* One argument too many is one that there is not. */
    (void)MHD_get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND, take_argument, &query);
    request.argument = query.argument;
    request.arguments = query.count;
    page_render(page->shared->page_store, &request, ret);
}

/* Scripts there are none; should hostile text become one, no browser runs it. */
static bool add_headers(struct MHD_Response *response, const struct page_answer *answer)
{
    const char *const headers[][2] = {
        {MHD_HTTP_HEADER_CONTENT_TYPE, answer->content_type},
        {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
        {"Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; "
                                    "base-uri 'none'; frame-ancestors 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {answer->status == MHD_HTTP_UNAUTHORIZED ? MHD_HTTP_HEADER_WWW_AUTHENTICATE : NULL,
         "Basic realm=\"measured-unlock\", charset=\"UTF-8\""},
        {answer->status == MHD_HTTP_METHOD_NOT_ALLOWED ? MHD_HTTP_HEADER_ALLOW : NULL, "GET, HEAD"},
    };

    for (size_t i = 0; i < MU_COUNT(headers); i++)
        if (headers[i][0] != NULL &&
            MHD_add_response_header(response, headers[i][0], headers[i][1]) != MHD_YES)
            return false;
    return true;
}

static enum MHD_Result send_answer(struct MHD_Connection *connection,
                                   const struct page_answer *answer)
{
    struct MHD_Response *response;
    enum MHD_Result result = MHD_NO;

    if (answer->text == NULL)
        return MHD_NO;
    response =
        MHD_create_response_from_buffer(strlen(answer->text), answer->text, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return MHD_NO;
    if (add_headers(response, answer))
        result = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    return result;
}

static void note(const struct page_server *page, struct MHD_Connection *connection,
                 const char *path, const struct page_answer *answer, uint64_t took_us)
{
    json_object *line = journal_begin("page");
    char address[SERVER_SENDER_TEXT];

    metrics_count_request(&page->shared->metrics, "page", answer->status);
    server_sender_text(connection, address);
    journal_text(line, "path", path);
    journal_number(line, "status", answer->status);
    journal_number(line, "ms", (double)took_us / 1000);
    journal_text(line, "address", address);
    journal_text(line, "detail", answer->why.text);
    journal_end(line);
}

/* The body of a request, which is of no use here, comes piece by piece after its header. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *data, size_t *len, void **state)
{
    static int header_seen;
    MU_CLEANUP(page_answer_free) struct page_answer answer = {0};
    const struct page_server *page = context;
    uint64_t began = clock_now_us();

    (void)version;
    (void)data;
    if (*state == NULL && strcmp(method, MHD_HTTP_METHOD_GET) == 0) {
        *state = &header_seen;
        return MHD_YES;
    }
    if (*len > 0) {
        *len = 0;
        return MHD_YES;
    }
    answer_page(page, connection, path, method, &answer);
    note(page, connection, path, &answer, clock_now_us() - began);
    return send_answer(connection, &answer);
}

/* ---- starting and stopping ---- */

static struct MHD_Daemon *start_daemon(struct page_server *page, int listening)
{
    const struct verifier *verifier = page->verifier;
    const struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, listening, NULL},
        {MHD_OPTION_HTTPS_MEM_CERT, 0, verifier->certificate.data},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, verifier->certificate_key.data},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)SERVER_TLS_PRIORITIES},
        {MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS, NULL},
        {MHD_OPTION_PER_IP_CONNECTION_LIMIT, CONNECTIONS_PER_ADDRESS, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, verifier->settings.timeout, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {verifier->page_ca.data != NULL ? MHD_OPTION_HTTPS_MEM_TRUST : MHD_OPTION_END, 0,
         verifier->page_ca.data},
        {MHD_OPTION_END, 0, NULL},
    };

    return MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_TLS | MHD_USE_ITC, 0, NULL, NULL,
                            on_request, page, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}

enum mu_status page_server_start(struct shared *shared, const struct verifier *verifier,
                                 int listening, struct page_server **ret, struct mu_error *err)
{
    MU_CLEANUP(page_server_stop) struct page_server *page = calloc(1, sizeof(*page));
    int own = dup(listening);

    if (page == NULL || own < 0) {
        if (own >= 0)
            (void)close(own);
        return mu_oom(err);
    }
    page->shared = shared;
    page->verifier = verifier;
    page->daemon = start_daemon(page, own);
    if (page->daemon == NULL) {
        (void)close(own);
        return mu_fail(err, MU_CONFIG,
                       "[page]: no HTTPS server can be started: does GnuTLS take the certificates "
                       "of %s and client_ca?",
                       verifier->settings.certificate);
    }
    *ret = MU_TAKE(page);
    return MU_OK;
}

void page_server_stop(struct page_server **page)
{
    if (*page == NULL)
        return;
    if ((*page)->daemon != NULL)
        MHD_stop_daemon((*page)->daemon);
    free(*page);
    *page = NULL;
}
