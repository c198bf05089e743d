/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HTTP answers as they come over the wire: the input is what a server on this machine says. */
#include "release/http.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"

static int listener = -1;
static char url[64];
static struct bytes answer; /* set before the request is sent */

/* The whole request is read: a socket that is closed before would cut the answer off. */
static void *serve(void *unused)
{
    char request[4096];
    int client;

    (void)unused;
    while ((client = accept(listener, NULL, NULL)) >= 0) {
        size_t len = 0;
        ssize_t n = 1;

        while (n > 0 && memmem(request, len, "\r\n\r\n", 4) == NULL) {
            n = read(client, request + len, sizeof(request) - len);
            len += n > 0 ? (size_t)n : 0;
        }
        for (size_t done = 0; done < answer.len; done += (size_t)n) {
            n = send(client, answer.data + done, answer.len - done, MSG_NOSIGNAL);
            if (n < 0)
                break;
        }
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
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(address.sin_port));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct bytes text = {(const uint8_t *)"text", 4};
    const bool post = size % 2 == 0;
    struct http_request request = {
        .method = post ? "POST" : "GET",
        .url = url,
        .header = {{post ? "Content-Type" : "X-Test", text}},
        .sigv4 = post ? "aws:amz:us-east-1:kms" : NULL,
        .access_key_id = text,
        .secret_access_key = text,
        .connect_ms = 5000,
        .total_ms = 5000,
        .deadline = deadline_in(60),
    };
    struct http_response response;
    struct mu_error err = {0};
    struct http *http = NULL;
    enum mu_status status;

    if (listener < 0)
        start();
    answer = (struct bytes){data, size};
    fuzz_require(http_open(NULL, &http, &err) == MU_OK, "a client");
    status = http_perform(http, &request, &response, &err);
    fuzz_outcome(status, &err, 1u << MU_REFUSE | 1u << MU_RETRY);
    if (status == MU_OK)
        fuzz_require(response.body.len <= HTTP_BODY_MAX &&
                         response.body.data[response.body.len] == 0 &&
                         memchr(response.content_type, 0, sizeof(response.content_type)) != NULL,
                     "an answer within its limits");
    http_close(&http);
    return 0;
}
