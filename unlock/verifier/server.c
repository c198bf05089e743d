/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/server.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <microhttpd.h>

#include "base/clock.h"
#include "verifier/answer.h"

#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
#define CONNECTION_MEMORY 16384 /* of a request's line and header, among others */
#define ADDRESS_SIZE 64

/* One request while it arrives. */
struct request {
    const struct endpoint *endpoint;
    struct buffer body; /* allocated as large as it may get */
    bool too_large;
    uint64_t start_us;
};

static void request_free(struct request **request)
{
    if (*request == NULL)
        return;
    buffer_free(&(*request)->body);
    free(*request);
    *request = NULL;
}

static uint64_t request_deadline(const struct server *server)
{
    return now_us() + 1000000 * (uint64_t)server->material->settings.timeout;
}

static const struct sockaddr *sender(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
}

static void sender_text(struct MHD_Connection *connection, char to[static ADDRESS_SIZE])
{
    const struct sockaddr *address = sender(connection);
    socklen_t len =
        address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

    to[0] = '\0';
    (void)getnameinfo(address, len, to, ADDRESS_SIZE, NULL, 0, NI_NUMERICHOST);
}

/* ---- answering ---- */

static enum MHD_Result queue(struct MHD_Connection *connection, const struct endpoint *endpoint,
                             const struct judgement *judgement)
{
    const char *text = answer_text(judgement);
    enum MHD_Result result = MHD_NO;
    struct MHD_Response *response;

    if (text == NULL)
        return MHD_NO;
    response = MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return MHD_NO;
    if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                                judgement->error != NULL ? "application/json"
                                                         : endpoint->content_type) == MHD_YES &&
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") == MHD_YES &&
        (judgement->status != MHD_HTTP_METHOD_NOT_ALLOWED ||
         MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, endpoint->method) == MHD_YES))
        result = MHD_queue_response(connection, judgement->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result finish(const struct server *server, struct MHD_Connection *connection,
                              const struct request *request, struct judgement *judgement)
{
    char address[ADDRESS_SIZE];
    enum MHD_Result result = queue(connection, request->endpoint, judgement);

    sender_text(connection, address);
    answer_note(server, request->endpoint, judgement, address, now_us() - request->start_us);
    judgement_free(judgement);
    return result;
}

static bool method_fits(const char *wanted, const char *method)
{
    return strcmp(wanted, method) == 0 ||
           (strcmp(wanted, MHD_HTTP_METHOD_GET) == 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) == 0);
}

static bool announces_too_much(struct MHD_Connection *connection)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return length != NULL && strtoull(length, NULL, 10) > JUDGE_BODY_MAX;
}

static void refuse_large(struct judgement *ret)
{
    judge_refuse(ret, MHD_HTTP_CONTENT_TOO_LARGE, "large", "the body is larger than %d bytes",
                 JUDGE_BODY_MAX);
}

/* What can be refused before the body is there. */
static bool refuse_early(const struct server *server, struct MHD_Connection *connection,
                         const struct endpoint *endpoint, const char *method, struct judgement *ret)
{
    const struct settings *settings = &server->material->settings;

    if (!limiter_take(&server->shared->limiter, sender(connection), settings->requests_per_second,
                      settings->burst, now_us()))
        judge_refuse(ret, MHD_HTTP_TOO_MANY_REQUESTS, "rate",
                     "more than %u requests a second from this address",
                     settings->requests_per_second);
    else if (endpoint->path == NULL)
        endpoint->answer(server, (struct bytes){0}, ret);
    else if (!method_fits(endpoint->method, method))
        judge_refuse(ret, MHD_HTTP_METHOD_NOT_ALLOWED, "method", "only %s is answered here",
                     endpoint->method);
    else if (announces_too_much(connection))
        refuse_large(ret);
    return ret->status != 0;
}

static enum MHD_Result begin(const struct server *server, struct MHD_Connection *connection,
                             const char *path, const char *method, struct request **ret)
{
    struct request *request = calloc(1, sizeof(*request));
    struct judgement judgement = {0};

    if (request == NULL)
        return MHD_NO;
    *ret = request;
    request->endpoint = answer_endpoint(path);
    request->start_us = now_us();
    if (refuse_early(server, connection, request->endpoint, method, &judgement))
        return finish(server, connection, request, &judgement);
    return MHD_YES;
}

/* What is too much is passed over, and refused at its end: libmicrohttpd answers no earlier. */
static enum MHD_Result take_body(struct request *request, const char *data, size_t len)
{
    struct mu_error err = {0};
    size_t had = request->body.len;

    request->too_large = request->too_large || len > JUDGE_BODY_MAX - had;
    if (request->too_large)
        return MHD_YES;
    if (request->body.data == NULL && buffer_alloc(&request->body, JUDGE_BODY_MAX, &err) != MU_OK)
        return MHD_NO;
    memcpy(request->body.data + had, data, len);
    request->body.len = had + len;
    return MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *data, size_t *len, void **state)
{
    const struct server *server = context;
    struct request *request = *state;
    struct judgement judgement = {0};
    enum MHD_Result taken;

    (void)version;
    if (request == NULL)
        return begin(server, connection, path, method, (struct request **)state);
    if (*len > 0) {
        taken = take_body(request, data, *len);
        *len = 0;
        return taken;
    }
    if (request->too_large)
        refuse_large(&judgement);
    else
        request->endpoint->answer(server, buffer_view(&request->body), &judgement);
    return finish(server, connection, request, &judgement);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode why)
{
    const struct server *server = context;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    (void)why;
    request_free((struct request **)state);
    if (info != NULL && info->socket_context != NULL)
        patience_extend(&server->shared->patience, info->socket_context, request_deadline(server));
}

static void on_connection(void *context, struct MHD_Connection *connection, void **state,
                          enum MHD_ConnectionNotificationCode code)
{
    const struct server *server = context;
    struct patience *patience = &server->shared->patience;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;

        *state = patience_begin(patience, fd, request_deadline(server));
    } else if (*state != NULL) {
        patience_end(patience, *state);
        *state = NULL;
    }
}

/* ---- starting and stopping ---- */

static struct MHD_Daemon *start_daemon(struct server *server, int listening)
{
    const struct settings *settings = &server->material->settings;
    const struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, listening, NULL},
        {MHD_OPTION_HTTPS_MEM_CERT, 0, server->material->certificate.data},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, server->material->certificate_key.data},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)TLS_PRIORITIES},
        {MHD_OPTION_CONNECTION_LIMIT, settings->connections, NULL},
        {MHD_OPTION_PER_IP_CONNECTION_LIMIT, settings->connections_per_address, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, settings->timeout, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL},
        {MHD_OPTION_THREAD_POOL_SIZE, settings->threads > 1 ? settings->threads : 0, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, server},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, server},
        {MHD_OPTION_END, 0, NULL},
    };

    return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TLS | MHD_USE_ITC, 0, NULL,
                            NULL, on_request, server, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}

void server_stop(struct server **server)
{
    if (*server == NULL)
        return;
    if ((*server)->daemon != NULL)
        MHD_stop_daemon((*server)->daemon);
    material_free(&(*server)->material);
    free(*server);
    *server = NULL;
}

enum mu_status server_start(struct shared *shared, struct material **material, int listening,
                            struct server **ret, struct mu_error *err)
{
    MU_CLEANUP(server_stop) struct server *server = calloc(1, sizeof(*server));
    int own = dup(listening);

    if (server == NULL || own < 0) {
        if (own >= 0)
            (void)close(own);
        return mu_oom(err);
    }
    server->shared = shared;
    server->material = *material;
    *material = NULL;
    server->daemon = start_daemon(server, own);
    if (server->daemon == NULL) {
        (void)close(own);
        return mu_fail(err, MU_CONFIG,
                       "no HTTPS server can be started: does GnuTLS take the certificate in %s?",
                       server->material->settings.certificate);
    }
    *ret = server;
    server = NULL;
    return MU_OK;
}

void server_quiesce(struct server *server)
{
    int listening = MHD_quiesce_daemon(server->daemon);

    if (listening >= 0)
        (void)close(listening);
}

unsigned server_connections(const struct server *server)
{
    struct MHD_Daemon *daemon = server->daemon;
    const union MHD_DaemonInfo *info =
        daemon != NULL ? MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS) : NULL;

    return info != NULL ? info->num_connections : 0;
}

enum mu_status server_health(const struct server *server, struct mu_error *err)
{
    struct shared *shared = server->shared;
    struct timespec now = {0};
    enum mu_status status = MU_OK;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    MU_TRY(material_check(server->material, now.tv_sec, err));
    (void)pthread_mutex_lock(&shared->lock);
    if (shared->reload_error[0] != '\0')
        status = mu_fail(err, MU_CONFIG, "%s", shared->reload_error);
    (void)pthread_mutex_unlock(&shared->lock);
    return status;
}
