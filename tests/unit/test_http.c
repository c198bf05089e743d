/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

#include "net/http.h"
#include "test.h"

/* A server for one connection that sends canned answers, each after one request. */
struct server {
    pthread_t thread;
    int listener;
    char url[64];
    const char *const *answers; /* NULL-terminated; "" sends nothing and waits for the peer to go */
    char seen[8192];
};

void before_all(void)
{
    /* None of these may have an effect. */
    setenv("http_proxy", "http://127.0.0.1:9", 1);
    setenv("all_proxy", "http://127.0.0.1:9", 1);
}

static void read_request(int connection, char *to, size_t cap)
{
    size_t len = 0;

    while (len < cap - 1 && strstr(to, "\r\n\r\n") == NULL) {
        ssize_t n = recv(connection, to + len, cap - 1 - len, 0);

        if (n <= 0)
            return;
        len += (size_t)n;
    }
}

static void *serve(void *argument)
{
    struct server *server = argument;
    int connection = accept(server->listener, NULL, NULL);
    size_t used = 0;

    for (size_t i = 0; connection >= 0 && server->answers[i] != NULL; i++) {
        const char *answer = server->answers[i];

        read_request(connection, server->seen + used, sizeof(server->seen) - used);
        used += strlen(server->seen + used);
        if (answer[0] == '\0')
            (void)recv(connection, (char[1]){0}, 1, 0);
        else
            (void)send(connection, answer, strlen(answer), MSG_NOSIGNAL);
    }
    if (connection >= 0)
        close(connection);
    return NULL;
}

static void server_start(struct server *server, const char *const *answers)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);

    *server = (struct server){.answers = answers};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server->listener, 4), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%d/path",
                   ntohs(address.sin_port));
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
    shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listener);
}

static struct http_request get(const char *url)
{
    return (struct http_request){.method = "GET",
                                 .url = url,
                                 .connect_ms = 2000,
                                 .total_ms = 5000,
                                 .deadline = deadline_in(5)};
}

static struct http *open_plain(void)
{
    struct http *http;

    assert_int_equal(http_open(NULL, &http, &err), MU_OK);
    return http;
}

#define HEAD "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 04:00:00 GMT\r\nContent-Type: a/b\r\n"

TEST(test_answers_on_one_connection)
{
    static const char *const answers[] = {HEAD "Content-Length: 3\r\n\r\nabc",
                                          "HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", NULL};
    struct server server;
    struct http *http = open_plain();
    struct http_response response;
    struct http_request request;

    server_start(&server, answers);
    request = get(server.url);
    request.header[0] = (struct http_header){"X-Token", {(const uint8_t *)"secret", 6}};
    if (http_perform(http, &request, &response, &err) != MU_OK)
        fail_msg("%s", err.text);
    assert_int_equal(response.status, 200);
    assert_int_equal(response.date, 1795492800);
    assert_string_equal(response.content_type, "a/b");
    assert_int_equal(response.body.len, 3);
    assert_string_equal((const char *)response.body.data, "abc");
    request.method = "PUT";
    if (http_perform(http, &request, &response, &err) != MU_OK)
        fail_msg("%s", err.text);
    assert_int_equal(response.status, 503);
    assert_int_equal(response.date, 0);
    assert_int_equal(response.body.len, 0);
    http_close(&http);
    server_stop(&server);
    assert_non_null(strstr(server.seen, "GET /path HTTP/1.1\r\n"));
    assert_non_null(strstr(server.seen, "X-Token: secret\r\n"));
    assert_non_null(strstr(server.seen, "User-Agent: measured-unlock/"));
    assert_non_null(strstr(server.seen, "PUT /path HTTP/1.1\r\n"));
    assert_non_null(strstr(server.seen, "Content-Length: 0\r\n"));
    assert_null(strstr(server.seen, "Content-Type"));
}

static void check_answer(const char *answer, enum mu_status status, long http_status,
                         const char *says)
{
    const char *const answers[] = {answer, NULL};
    struct server server;
    struct http *http = open_plain();
    struct http_response response = {0};
    struct http_request request;

    server_start(&server, answers);
    request = get(server.url);
    if (http_perform(http, &request, &response, &err) != status || response.status != http_status ||
        strstr(err.text, says) == NULL)
        fail_msg("%.60s: %ld %s", answer, response.status, err.text);
    http_close(&http);
    server_stop(&server);
}

TEST(test_classes)
{
    check_answer(HEAD "Content-Length: 3\r\n\r\nabc", MU_OK, 200, "");
    check_answer(HEAD "Content-Length: 30\r\n\r\nabc", MU_RETRY, 0, "127.0.0.1");
    check_answer("HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
                 MU_OK, 302, "");
    check_answer("rubbish without a status line\r\n\r\n", MU_RETRY, 0, "127.0.0.1");
    check_answer("HTTP/1.1", MU_RETRY, 0, "127.0.0.1");
    check_answer("HTTP/1.1 200 OK\r\nDate: x\nno\rcolon: x\r\n\r\n", MU_RETRY, 0, "127.0.0.1");
}

TEST(test_body_limit)
{
    static char answer[HTTP_BODY_MAX + 512];
    int len = sprintf(answer, HEAD "Content-Length: %d\r\n\r\n", HTTP_BODY_MAX);

    memset(answer + len, 'x', HTTP_BODY_MAX);
    check_answer(answer, MU_OK, 200, "");
    len = sprintf(answer, HEAD "Connection: close\r\n\r\n");
    memset(answer + len, 'x', HTTP_BODY_MAX + 1);
    answer[len + HTTP_BODY_MAX + 1] = '\0';
    check_answer(answer, MU_REFUSE, 0, "more than 65536 bytes");
}

TEST(test_bad_requests)
{
    static const struct {
        const char *url;
        enum mu_status status;
    } cases[] = {
        {"http://127.0.0.1:1/", MU_RETRY},
        {"http://user@127.0.0.1:1/", MU_REFUSE},
        {"http://[", MU_CONFIG},
        {"file:///etc/passwd", MU_RETRY}, /* "unsupported protocol", as an answer not in HTTP */
        {"https://127.0.0.1:1/", MU_RETRY},
    };
    struct http *http = open_plain();
    struct http_response response;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_request request = get(cases[i].url);

        if (http_perform(http, &request, &response, &err) != cases[i].status)
            fail_msg("%s: %d %s", cases[i].url, err.status, err.text);
    }
    struct http_request late = get("http://127.0.0.1:1/");
    late.deadline = deadline_in(0);
    assert_int_equal(http_perform(http, &late, &response, &err), MU_RETRY);
    assert_non_null(strstr(err.text, "no time is left"));
    struct http_request split = get("http://127.0.0.1:1/");
    split.header[0] = (struct http_header){"X", {(const uint8_t *)"a\r\nb", 4}};
    assert_int_equal(http_perform(http, &split, &response, &err), MU_INTERNAL);
    http_close(&http);
}

static void *set_soon(void *flag)
{
    usleep(100000);
    atomic_store((atomic_bool *)flag, true);
    return NULL;
}

TEST(test_stop)
{
    static const char *const answers[] = {"", NULL};
    static atomic_bool stop;
    struct server server;
    struct http *http = open_plain();
    struct http_response response;
    struct http_request request;
    pthread_t thread;
    uint64_t start = clock_now_us();

    server_start(&server, answers);
    request = get(server.url);
    request.deadline.stop = &stop;
    assert_int_equal(pthread_create(&thread, NULL, set_soon, &stop), 0);
    assert_int_equal(http_perform(http, &request, &response, &err), MU_RETRY);
    assert_non_null(strstr(err.text, "no time is left"));
    assert_in_range(clock_now_us() - start, 90000, 2000000);
    assert_false(clock_pause_ms(1000, request.deadline));
    pthread_join(thread, NULL);
    http_close(&http);
    server_stop(&server);
}

TEST(test_time_limit)
{
    static const char *const answers[] = {"", NULL};
    struct server server;
    struct http *http = open_plain();
    struct http_response response;
    struct http_request request;
    uint64_t start = clock_now_us();

    server_start(&server, answers);
    request = get(server.url);
    request.total_ms = 200;
    assert_int_equal(http_perform(http, &request, &response, &err), MU_RETRY);
    assert_in_range(clock_now_us() - start, 150000, 3000000);
    http_close(&http);
    server_stop(&server);
}

TEST(test_tokens)
{
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {
        {"abc~!", true}, {"", false},       {"a b", false},  {"a\n", false},
        {"12345", true}, {"123456", false}, {"\x7f", false}, {"\xc3\xa4", false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes text = {(const uint8_t *)cases[i].text, strlen(cases[i].text)};

        if (http_token_ok(text, 1, 5) != cases[i].ok)
            fail_msg("'%s'", cases[i].text);
    }
}
