/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/server.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/time.h"
#include "fleet/reply.h"
#include "verifier/routes.h"

#define CONNECTION_MEMORY 16384 /* of a request's line and header, among others */

/* One request while it arrives. */
struct request {
    const struct route *route;
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
    return clock_now_us() + 1000000 * (uint64_t)server->verifier->settings.timeout;
}

const struct sockaddr *server_sender(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
}

void server_sender_text(struct MHD_Connection *connection, char to[static SERVER_SENDER_TEXT])
{
    const struct sockaddr *address = server_sender(connection);
    socklen_t len =
        address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

    to[0] = '\0';
    (void)getnameinfo(address, len, to, SERVER_SENDER_TEXT, NULL, 0, NI_NUMERICHOST);
}

/* ---- answering ---- */

static enum MHD_Result finish(const struct server *server, struct MHD_Connection *connection,
                              const struct request *request, struct appraisal *appraisal)
{
    const struct route *route = request->route;
    char address[SERVER_SENDER_TEXT];
    enum MHD_Result result =
        reply(connection, appraisal->status,
              appraisal->error != NULL ? "application/json" : route->content_type,
              appraisal->status == MHD_HTTP_METHOD_NOT_ALLOWED ? route->method : NULL,
              route_text(appraisal));

    server_sender_text(connection, address);
    route_note(server, route, appraisal, address, clock_now_us() - request->start_us);
    appraisal_free(appraisal);
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

    return length != NULL && strtoull(length, NULL, 10) > APPRAISE_BODY_MAX;
}

static void refuse_large(struct appraisal *ret)
{
    appraise_refuse(ret, MHD_HTTP_CONTENT_TOO_LARGE, "large", "the body is larger than %d bytes",
                    APPRAISE_BODY_MAX);
}

/* What can be refused before the body is there. */
static bool refuse_early(const struct server *server, struct MHD_Connection *connection,
                         const struct route *route, const char *method, struct appraisal *ret)
{
    const struct settings *settings = &server->verifier->settings;
    struct source source = source_of(server_sender(connection));

    if (!limiter_take(&server->shared->requests, &source, settings->requests_per_second,
                      settings->burst, clock_now_us()))
        appraise_refuse(ret, MHD_HTTP_TOO_MANY_REQUESTS, "rate",
                        "more than %u requests a second from this address",
                        settings->requests_per_second);
    else if (route->path == NULL)
        route->answer(server, (struct bytes){0}, ret);
    else if (!method_fits(route->method, method))
        appraise_refuse(ret, MHD_HTTP_METHOD_NOT_ALLOWED, "method", "only %s is answered here",
                        route->method);
    else if (announces_too_much(connection))
        refuse_large(ret);
    return ret->status != 0;
}

static enum MHD_Result begin(const struct server *server, struct MHD_Connection *connection,
                             const char *path, const char *method, struct request **ret)
{
    struct request *request = calloc(1, sizeof(*request));
    struct appraisal appraisal = {0};

    if (request == NULL)
        return MHD_NO;
    *ret = request;
    request->route = route_find(path);
    request->start_us = clock_now_us();
    if (refuse_early(server, connection, request->route, method, &appraisal))
        return finish(server, connection, request, &appraisal);
    return MHD_YES;
}

/* A body that is too large is skipped, and refused at its end: libmicrohttpd does not answer
 * earlier. */
static enum MHD_Result take_body(struct request *request, const char *data, size_t len)
{
    struct mu_error err = {0};
    size_t had = request->body.len;

    request->too_large = request->too_large || len > APPRAISE_BODY_MAX - had;
    if (request->too_large)
        return MHD_YES;
    if (request->body.data == NULL &&
        buffer_alloc(&request->body, APPRAISE_BODY_MAX, &err) != MU_OK)
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
    struct appraisal appraisal = {0};
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
        refuse_large(&appraisal);
    else
        request->route->answer(server, buffer_view(&request->body), &appraisal);
    return finish(server, connection, request, &appraisal);
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
        connections_extend(&server->shared->connections, info->socket_context,
                           request_deadline(server));
}

static void on_connection(void *context, struct MHD_Connection *connection, void **state,
                          enum MHD_ConnectionNotificationCode code)
{
    const struct server *server = context;
    struct connections *connections = &server->shared->connections;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;

        *state = connections_begin(connections, fd, server_sender(connection),
                                   server->verifier->settings.connections_per_address,
                                   request_deadline(server));
    } else if (*state != NULL) {
        connections_end(connections, *state);
        *state = NULL;
    }
}

/* ---- starting and stopping ---- */

static struct MHD_Daemon *start_daemon(struct server *server, int listening)
{
    const struct settings *settings = &server->verifier->settings;
    const struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, listening, NULL},
        {MHD_OPTION_HTTPS_MEM_CERT, 0, server->verifier->certificate.data},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, server->verifier->certificate_key.data},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)SERVER_TLS_PRIORITIES},
        {MHD_OPTION_CONNECTION_LIMIT, settings->connections, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, settings->timeout, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL},
        {MHD_OPTION_THREAD_POOL_SIZE, settings->threads > 1 ? settings->threads : 0, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, server},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, server},
        {MHD_OPTION_END, 0, NULL},
    };

    /* Not epoll: with it, libmicrohttpd 1.0.1 spins for as long as a TLS handshake waits for its
     * client (MHD_connection_handle_read leaves MHD_EPOLL_STATE_READ_READY set). */
    return MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_TLS | MHD_USE_ITC, 0, NULL, NULL,
                            on_request, server, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}

void server_stop(struct server **server)
{
    if (*server == NULL)
        return;
    if ((*server)->daemon != NULL)
        MHD_stop_daemon((*server)->daemon);
    verifier_free(&(*server)->verifier);
    free(*server);
    *server = NULL;
}

enum mu_status server_start(struct shared *shared, struct verifier **verifier, int listening,
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
    server->verifier = *verifier;
    *verifier = NULL;
    server->daemon = start_daemon(server, own);
    if (server->daemon == NULL) {
        (void)close(own);
        return mu_fail(err, MU_CONFIG,
                       "no HTTPS server can be started: does GnuTLS take the certificate in %s?",
                       server->verifier->settings.certificate);
    }
    *ret = MU_TAKE(server);
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
    enum mu_status status = MU_OK;

    MU_TRY(verifier_check(server->verifier, (int64_t)(time_now_ms() / 1000), err));
    (void)pthread_mutex_lock(&shared->lock);
    if (shared->reload_error[0] != '\0')
        status = mu_fail(err, MU_CONFIG, "%s", shared->reload_error);
    (void)pthread_mutex_unlock(&shared->lock);
    return status;
}
