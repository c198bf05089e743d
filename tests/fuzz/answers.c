/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "answers.h"

#include <string.h>

#include "fuzz.h"

static struct reader *answers;
static unsigned requests;
static uint8_t body[HTTP_BODY_MAX + 1];

void answers_begin(struct reader *input)
{
    answers = input;
    requests = 0;
    fuzz_pauses = 20;
}

unsigned answers_requests(void)
{
    return requests;
}

/* What http_perform() would do before it sends. */
static void check_request(const struct http_request *request)
{
    fuzz_require(request->method != NULL && request->url != NULL, "a method and a URL");
    fuzz_require(strncmp(request->url, "http", 4) == 0, "a URL of HTTP");
    for (size_t i = 0; i < sizeof(request->header) / sizeof(request->header[0]); i++)
        fuzz_require(request->header[i].value.len == 0 ||
                         http_token_ok(request->header[i].value, 1, 16384),
                     "a header that can be sent");
}

static time_t server_clock(unsigned which)
{
    static const int hours[] = {0, 0, 1, -1, 5, -5, 48, -48};

    return which == 1 ? 0 : time(NULL) + 3600 * hours[which];
}

enum mu_status __wrap_http_perform(struct http *http, const struct http_request *request,
                                   struct http_response *ret, struct mu_error *err)
{
    struct http_response response = {0};
    uint8_t flags;

    (void)http;
    check_request(request);
    if (reader_left(answers) == 0)
        return mu_fail(err, MU_RETRY, "no answer");
    requests++;
    response.status = reader_be16(answers);
    flags = reader_u8(answers);
    response.body = fuzz_take(answers, reader_be16(answers));
    memcpy(body, response.body.data, response.body.len);
    body[response.body.len] = '\0';
    response.body.data = body;
    if ((flags & 2) == 0)
        strcpy(response.content_type,
               flags & 1 ? "text/html" : "application/x-amz-json-1.1; charset=utf-8");
    response.date = server_clock(flags >> 2 & 7);
    switch (flags >> 5) {
    case 1:
        return mu_fail(err, MU_RETRY, "no answer in time");
    case 2:
        return mu_fail(err, MU_REFUSE, "certificate");
    case 3:
        return mu_fail(err, MU_CONFIG, "CA file");
    default:
        *ret = response;
        return MU_OK;
    }
}
