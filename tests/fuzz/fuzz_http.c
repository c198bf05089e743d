/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HTTP answers as they come over the wire: the input is what a server on this machine says. After
 * one that ends with 0xff much more follows. What it begins with changes the request: 0x11 a header
 * that cannot be sent, 0x12 nobody listens, 0x13 no URL, 0x14 no time left, 0x15 TLS without a CA
 * file, 0x16 TLS. */
#include "net/http.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"

#define MUCH (HTTP_BODY_MAX + 4096)

static int listener = -1;
static char url[64];
static atomic_bool tls;
/* The server may still speak when the client has turned away, or come late to a connection. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t answer[65536];
static size_t answer_len;

static void say(int client, struct bytes text)
{
    ssize_t n;

    for (size_t done = 0; done < text.len; done += (size_t)n) {
        n = send(client, text.data + done, text.len - done, MSG_NOSIGNAL);
        if (n < 0)
            return;
    }
}

/* The whole request is read: a socket that is closed before would cut the answer off. */
static void *serve(void *unused)
{
    static const uint8_t much[MUCH];
    static uint8_t mine[sizeof(answer)];
    char request[4096];
    int client;

    (void)unused;
    while ((client = accept(listener, NULL, NULL)) >= 0) {
        size_t len = 0;
        ssize_t n = 1;

        while (n > 0 && memmem(request, len, "\r\n\r\n", 4) == NULL && !(tls && len > 0)) {
            n = read(client, request + len, sizeof(request) - len);
            len += n > 0 ? (size_t)n : 0;
        }
        pthread_mutex_lock(&lock);
        memcpy(mine, answer, answer_len);
        len = answer_len;
        pthread_mutex_unlock(&lock);
        say(client, (struct bytes){mine, len});
        if (len > 0 && mine[len - 1] == 0xff)
            say(client, (struct bytes){much, sizeof(much)});
        (void)close(client);
    }
    return NULL;
}

static void start(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    pthread_t thread;

    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fuzz_require(listener >= 0 && bind(listener, (struct sockaddr *)(void *)&address, len) == 0 &&
                     listen(listener, 16) == 0 &&
                     getsockname(listener, (struct sockaddr *)(void *)&address, &len) == 0 &&
                     pthread_create(&thread, NULL, serve, NULL) == 0,
                 "a server");
    (void)snprintf(url, sizeof(url), "://127.0.0.1:%u/", ntohs(address.sin_port));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct bytes text = {(const uint8_t *)"text", 4};
    const uint8_t first = size > 0 ? data[0] : 0;
    const bool post = size % 2 == 0;
    const char *ca = NULL;
    char where[80];
    struct http_request request = {
        .method = post ? "POST" : "GET",
        .url = where,
        .header = {{post ? "Content-Type" : "X-Test", text}},
        .sigv4 = post ? "aws:amz:us-east-1:kms" : NULL,
        .access_key_id = text,
        .secret_access_key = text,
        .connect_ms = 5000,
        .total_ms = 5000,
        .deadline = deadline_in(first == 0x14 ? 0 : 60),
    };
    struct http_response response;
    struct mu_error err = {0};
    struct http *http = NULL;
    enum mu_status status;

    if (listener < 0)
        start();
    if (size > sizeof(answer))
        return -1;
    pthread_mutex_lock(&lock);
    answer_len = size;
    if (size > 0)
        memcpy(answer, data, size);
    pthread_mutex_unlock(&lock);
    tls = first == 0x15 || first == 0x16;
    if (tls)
        ca = first == 0x16 ? "dracut-module/amazon-roots.pem" : "/nonexistent";
    (void)snprintf(where, sizeof(where), "http%s%s", tls ? "s" : "",
                   first == 0x12   ? "://127.0.0.1:1/"
                   : first == 0x13 ? "://["
                                   : url);
    if (first == 0x11)
        request.header[1] = (struct http_header){"X-Bad", {data, 1}};
    (void)http_token_ok((struct bytes){data, size % 16}, 1, 10);
    fuzz_require(http_open(ca, &http, &err) == MU_OK, "a client");
    status = http_perform(http, &request, &response, &err);
    fuzz_outcome(status, &err,
                 1u << MU_REFUSE | 1u << MU_RETRY | (tls || first == 0x13 ? 1u << MU_CONFIG : 0) |
                     (first == 0x11 ? 1u << MU_INTERNAL : 0));
    if (status == MU_OK)
        fuzz_require(response.body.len <= HTTP_BODY_MAX &&
                         response.body.data[response.body.len] == 0 &&
                         memchr(response.content_type, 0, sizeof(response.content_type)) != NULL,
                     "an answer within its limits");
    http_close(&http);
    return 0;
}
