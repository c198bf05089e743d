/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/service.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/signals.h"
#include "fleet/journal.h"
#include "verifier/page_server.h"
#include "verifier/server.h"

#define BACKLOG 1024
#define RETIREMENT_US 30000000u

struct service {
    const char *path;
    int listening;
    int page_listening; /* -1: nowhere */
    struct shared *shared;
    struct server *current;
    struct server *retiring; /* from before the last reload; NULL: none */
    uint64_t retired_us;
    struct page_server *page; /* of the current server's verifier; NULL: none */
};

static void service_free(struct service *service)
{
    page_server_stop(&service->page);
    server_stop(&service->current);
    server_stop(&service->retiring);
    if (service->shared != NULL) {
        store_close(&service->shared->store);
        store_close(&service->shared->page_store);
    }
    free(service->shared);
    if (service->listening >= 0)
        (void)close(service->listening);
    if (service->page_listening >= 0)
        (void)close(service->page_listening);
}

/* ---- the listening socket ---- */

static void free_addresses(struct addrinfo **list)
{
    if (*list != NULL)
        freeaddrinfo(*list);
}

/* "ADDRESS:PORT", "[ADDRESS]:PORT" */
static enum mu_status parse_address(const char *text, struct addrinfo **ret, struct mu_error *err)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                                   .ai_socktype = SOCK_STREAM};
    MU_CLEANUP(string_free) char *host = strdup(text);
    char *port, *name;
    size_t len;

    if (host == NULL)
        return mu_oom(err);
    port = strrchr(host, ':');
    if (port != NULL)
        *port++ = '\0';
    name = host;
    len = strlen(host);
    if (len > 1 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        name++;
    }
    if (port == NULL || name[0] == '\0' || getaddrinfo(name, port, &hints, ret) != 0)
        return mu_fail(err, MU_CONFIG,
                       "listen = %s: must be ADDRESS:PORT or [ADDRESS]:PORT, with numbers", text);
    return MU_OK;
}

static enum mu_status listen_at(const char *text, int *ret, struct mu_error *err)
{
    MU_CLEANUP(free_addresses) struct addrinfo *address = NULL;
    const int on = 1;
    int fd;

    MU_TRY(parse_address(text, &address, err));
    fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return mu_fail(err, MU_CONFIG, "listen = %s: %s", text, strerror(errno));
    *ret = fd;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)
        return mu_fail(err, MU_CONFIG, "listen = %s: %s", text, strerror(errno));
    return MU_OK;
}

static void say_where(const char *event, int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    char host[64] = "", port[16] = "", text[96];

    if (getsockname(fd, (struct sockaddr *)&address, &len) == 0)
        (void)getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), port, sizeof(port),
                          NI_NUMERICHOST | NI_NUMERICSERV);
    (void)snprintf(text, sizeof(text), strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
    journal_note(event, text);
}

/* ---- reloading ---- */

static void remember_reload(struct shared *shared, const char *error)
{
    (void)pthread_mutex_lock(&shared->lock);
    (void)snprintf(shared->reload_error, sizeof(shared->reload_error), "%s", error);
    (void)pthread_mutex_unlock(&shared->lock);
}

/* The store is opened when the service starts, and only then. */
static enum mu_status use_store(const struct service *service, struct verifier *verifier,
                                struct mu_error *err)
{
    verifier->store = service->shared->store;
    if (verifier->approved != NULL && verifier->store == NULL)
        return mu_fail(err, MU_CONFIG,
                       "builder_key: there was no store when the service started: "
                       "restart it");
    return MU_OK;
}

/* Its socket is opened when the service starts, too. */
static enum mu_status start_page(const struct service *service, const struct verifier *verifier,
                                 struct page_server **ret, struct mu_error *err)
{
    if (verifier->settings.page.listen == NULL)
        return MU_OK;
    if (service->page_listening < 0)
        return mu_fail(err, MU_CONFIG,
                       "[page]: there was none when the service started: restart it");
    return page_server_start(service->shared, verifier, service->page_listening, ret, err);
}

static enum mu_status try_reload(struct service *service, struct mu_error *err)
{
    MU_CLEANUP(verifier_free) struct verifier *verifier = NULL;
    struct server *fresh = NULL;
    struct page_server *page = NULL;

    MU_TRY(verifier_load(service->path, &verifier, err));
    MU_TRY(use_store(service, verifier, err));
    MU_TRY(server_start(service->shared, &verifier, service->listening, &fresh, err));
    if (start_page(service, fresh->verifier, &page, err) != MU_OK) {
        server_stop(&fresh);
        return err->status;
    }
    page_server_stop(&service->page);
    service->page = page;
    server_stop(&service->retiring);
    server_quiesce(service->current);
    service->retiring = service->current;
    service->retired_us = clock_now_us();
    service->current = fresh;
    return MU_OK;
}

static void reload(struct service *service)
{
    struct mu_error err = {0};

    if (try_reload(service, &err) != MU_OK) {
        remember_reload(service->shared, err.text);
        journal_note("reload-failed", err.text);
        return;
    }
    remember_reload(service->shared, "");
    journal_note("reloaded", service->path);
}

/* ---- running ---- */

static enum mu_status start(struct service *service, struct mu_error *err)
{
    MU_CLEANUP(verifier_free) struct verifier *verifier = NULL;

    service->shared = calloc(1, sizeof(*service->shared));
    if (service->shared == NULL)
        return mu_oom(err);
    metrics_init(&service->shared->metrics);
    limiter_init(&service->shared->requests);
    limiter_init(&service->shared->looks);
    limiter_init(&service->shared->tokens);
    connections_init(&service->shared->connections);
    (void)pthread_mutex_init(&service->shared->lock, NULL);
    MU_TRY(verifier_load(service->path, &verifier, err));
    if (verifier->settings.store != NULL)
        MU_TRY(store_open(verifier->settings.store, STORE_MAKE, &service->shared->store, err));
    MU_TRY(use_store(service, verifier, err));
    MU_TRY(listen_at(verifier->settings.listen, &service->listening, err));
    if (verifier->settings.page.listen != NULL) {
        MU_TRY(store_open(verifier->settings.store, STORE_READ, &service->shared->page_store, err));
        MU_TRY(listen_at(verifier->settings.page.listen, &service->page_listening, err));
    }
    MU_TRY(server_start(service->shared, &verifier, service->listening, &service->current, err));
    return start_page(service, service->current->verifier, &service->page, err);
}

static void keep_house(struct service *service)
{
    (void)connections_enforce(&service->shared->connections, clock_now_us());
    if (service->retiring != NULL && (server_connections(service->retiring) == 0 ||
                                      clock_now_us() - service->retired_us > RETIREMENT_US))
        server_stop(&service->retiring);
}

static enum mu_status block_signals(sigset_t *ret, struct mu_error *err)
{
    static const int waited_for[] = {SIGTERM, SIGINT, SIGHUP};

    (void)sigemptyset(ret);
    for (size_t i = 0; i < MU_COUNT(waited_for); i++)
        (void)sigaddset(ret, waited_for[i]);
    if (pthread_sigmask(SIG_BLOCK, ret, NULL) != 0)
        return mu_fail(err, MU_INTERNAL, "signals cannot be blocked");
    return MU_OK;
}

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

enum mu_status verifier_run(const char *path, struct mu_error *err)
{
    static const struct timespec second = {1, 0};
    MU_CLEANUP(service_free)
    struct service service = {.path = path, .listening = -1, .page_listening = -1};
    sigset_t signals;
    int signal;

    MU_TRY(signals_install(err));
    MU_TRY(block_signals(&signals, err));
    raise_file_limit();
    MU_TRY(start(&service, err));
    say_where("listening", service.listening);
    if (service.page_listening >= 0)
        say_where("page-listening", service.page_listening);
    for (;;) {
        signal = sigtimedwait(&signals, NULL, &second);
        if (signal == SIGTERM || signal == SIGINT)
            break;
        if (signal == SIGHUP)
            reload(&service);
        keep_house(&service);
    }
    journal_note("stopping", path);
    return MU_OK;
}
