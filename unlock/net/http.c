/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/http.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "base/names.h"
#include "base/secret.h"
#include "base/text.h"
#include "base/time.h"

#define CANCEL_POLL_MS 50

struct http {
    CURLM *multi; /* owns the connection */
    CURL *easy;
    const char *ca_file;
    struct deadline deadline; /* of the request that is going on */
    char message[CURL_ERROR_SIZE];
    uint8_t *body; /* HTTP_BODY_MAX + 1 */
    size_t body_len;
    bool overflow;
    bool clock_is_behind;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool ready;

static void initialise(void)
{
    names_without_modules();
    ready = curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free, wiping_realloc, strdup,
                                 calloc) == CURLE_OK;
}

enum mu_status http_open(const char *ca_file, struct http **ret, struct mu_error *err)
{
    MU_CLEANUP(http_close) struct http *http = NULL;

    pthread_once(&once, initialise);
    if (!ready)
        return mu_fail(err, MU_INTERNAL, "libcurl cannot be initialised");
    http = calloc(1, sizeof(*http));
    if (http == NULL)
        return mu_oom(err);
    http->ca_file = ca_file;
    http->multi = curl_multi_init();
    http->easy = curl_easy_init();
    http->body = malloc(HTTP_BODY_MAX + 1);
    if (http->multi == NULL || http->easy == NULL || http->body == NULL)
        return mu_oom(err);
    *ret = MU_TAKE(http);
    return MU_OK;
}

static void wipe_body(struct http *http)
{
    if (http->body != NULL)
        OPENSSL_cleanse(http->body, http->body_len);
    http->body_len = 0;
    http->overflow = false;
}

void http_close(struct http **http)
{
    if (*http == NULL)
        return;
    if ((*http)->easy != NULL)
        curl_easy_cleanup((*http)->easy);
    if ((*http)->multi != NULL)
        curl_multi_cleanup((*http)->multi);
    wipe_body(*http);
    free((*http)->body);
    free(*http);
    *http = NULL;
}

static size_t receive(char *data, size_t size, size_t count, void *argument)
{
    struct http *http = argument;
    size_t len = size * count;

    if (len > HTTP_BODY_MAX - http->body_len) {
        http->overflow = true;
        return CURL_WRITEFUNC_ERROR;
    }
    memcpy(http->body + http->body_len, data, len);
    http->body_len += len;
    return len;
}

static char *text_of(const char *prefix, struct bytes value)
{
    size_t prefix_len = strlen(prefix);
    char *text = calloc(1, prefix_len + value.len + 1);

    if (text == NULL)
        return NULL;
    memcpy(text, prefix, prefix_len); /* NOLINT(bugprone-not-null-terminated-result): calloc */
    if (value.len > 0)
        memcpy(text + prefix_len, value.data, value.len);
    return text;
}

static void list_free(struct curl_slist **list)
{
    curl_slist_free_all(*list);
}

static bool list_append(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);

    if (longer == NULL)
        return false;
    *list = longer;
    return true;
}

static enum mu_status header_add(struct curl_slist **list, const struct http_header *header,
                                 struct mu_error *err)
{
    MU_CLEANUP(string_wipe) char *line = NULL;
    char prefix[64];

    if (!text_is_printable(header->value))
        return mu_fail(err, MU_INTERNAL, "header %s: not printable", header->name);
    (void)snprintf(prefix, sizeof(prefix), "%s: ", header->name);
    line = text_of(prefix, header->value);
    return line != NULL && list_append(list, line) ? MU_OK : mu_oom(err);
}

static enum mu_status headers_of(const struct http_request *request, struct curl_slist **ret,
                                 struct mu_error *err)
{
    bool has_type = false;

    for (size_t i = 0; i < MU_COUNT(request->header); i++) {
        const struct http_header *header = &request->header[i];

        if (header->value.len == 0)
            continue;
        has_type = has_type || strcmp(header->name, "Content-Type") == 0;
        MU_TRY(header_add(ret, header, err));
    }
    if (!has_type && !list_append(ret, "Content-Type:"))
        return mu_oom(err);
    return MU_OK;
}

/* OpenSSL verifies by the machine's clock, unless it is told the time. */
static CURLcode set_time(CURL *easy, void *ssl_ctx, void *argument)
{
    (void)easy;
    (void)argument;
    if (time_ahead_s() != 0)
        X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(ssl_ctx), (time_t)(time_now_ms() / 1000));
    return CURLE_OK;
}

static CURLcode set_options(struct http *http, const struct http_request *request,
                            struct curl_slist *headers)
{
    const bool tls = http->ca_file != NULL, signs = request->sigv4 != NULL;
    const bool post = strcmp(request->method, "GET") != 0;
    const uint8_t *body = request->body.data;
    unsigned total_ms = deadline_left_ms(request->deadline, request->total_ms);
    MU_CLEANUP(string_wipe) char *id = text_of("", request->access_key_id);
    MU_CLEANUP(string_wipe) char *secret = text_of("", request->secret_access_key);
    const struct {
        bool wanted;
        CURLoption option;
        long value;
    } numbers[] = {
        {true, CURLOPT_NOSIGNAL, 1},
        {true, CURLOPT_QUICK_EXIT, 1},
        {true, CURLOPT_FOLLOWLOCATION, 0},
        {true, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
        {true, CURLOPT_DISALLOW_USERNAME_IN_URL, 1},
        {true, CURLOPT_TIMEOUT_MS, (long)(total_ms > 0 ? total_ms : 1)},
        {true, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_ms},
        {true, post ? CURLOPT_POST : CURLOPT_HTTPGET, 1},
        {post, CURLOPT_POSTFIELDSIZE, (long)request->body.len},
        {tls, CURLOPT_SSL_VERIFYPEER, 1},
        {tls, CURLOPT_SSL_VERIFYHOST, 2},
        {tls, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
    };
    const struct {
        bool wanted;
        CURLoption option;
        const void *value;
    } pointers[] = {
        {true, CURLOPT_ERRORBUFFER, http->message},
        {true, CURLOPT_URL, request->url},
        {true, CURLOPT_USERAGENT, "measured-unlock/" MU_VERSION},
        {true, CURLOPT_HTTPHEADER, headers},
        {true, CURLOPT_WRITEDATA, http},
        {post, CURLOPT_CUSTOMREQUEST, request->method},
        {post, CURLOPT_POSTFIELDS, body != NULL ? body : (const uint8_t *)""},
        {true, CURLOPT_PROTOCOLS_STR, tls ? "https" : "http"},
        {tls, CURLOPT_CAINFO, http->ca_file},
        {tls, CURLOPT_CAPATH, NULL},
        {signs, CURLOPT_AWS_SIGV4, request->sigv4},
        {signs, CURLOPT_USERNAME, id},
        {signs, CURLOPT_PASSWORD, secret},
    };
    CURLcode rc = curl_easy_setopt(http->easy, CURLOPT_WRITEFUNCTION, receive);

    if (id == NULL || secret == NULL)
        return CURLE_OUT_OF_MEMORY;
    for (size_t i = 0; i < MU_COUNT(numbers) && rc == CURLE_OK; i++)
        if (numbers[i].wanted)
            rc = curl_easy_setopt(http->easy, numbers[i].option, numbers[i].value);
    for (size_t i = 0; i < MU_COUNT(pointers) && rc == CURLE_OK; i++)
        if (pointers[i].wanted)
            rc = curl_easy_setopt(http->easy, pointers[i].option, pointers[i].value);
    if (rc != CURLE_OK)
        return rc;
    if (tls && (rc = curl_easy_setopt(http->easy, CURLOPT_SSL_CTX_FUNCTION, set_time)) != CURLE_OK)
        return rc;
    rc = curl_easy_setopt(http->easy, CURLOPT_NOPROXY, "*");
    /* A libcurl built without proxies knows no option to go without. */
    return rc == CURLE_UNKNOWN_OPTION || rc == CURLE_NOT_BUILT_IN ? CURLE_OK : rc;
}

/* As curl_easy_perform, which would look at a request to stop once a second only. */
static CURLcode http_run(struct http *http)
{
    int running = 1, left;
    CURLMsg *message;

    if (curl_multi_add_handle(http->multi, http->easy) != CURLM_OK)
        return CURLE_FAILED_INIT;
    while (running > 0 && !deadline_passed(http->deadline)) {
        if (curl_multi_perform(http->multi, &running) != CURLM_OK ||
            (running > 0 &&
             curl_multi_poll(http->multi, NULL, 0, CANCEL_POLL_MS, NULL) != CURLM_OK))
            return CURLE_FAILED_INIT;
    }
    message = curl_multi_info_read(http->multi, &left);
    return message != NULL && message->msg == CURLMSG_DONE ? message->data.result
                                                           : CURLE_ABORTED_BY_CALLBACK;
}

static enum mu_status class_of(CURLcode rc)
{
    switch (rc) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* an answer that is not HTTP/1 */
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_AGAIN:
    case CURLE_HTTP2:
    case CURLE_BAD_FUNCTION_ARGUMENT: /* a header line that libcurl cannot take apart */
    case CURLE_ABORTED_BY_CALLBACK:
        return MU_RETRY;
    case CURLE_URL_MALFORMAT:
    case CURLE_SSL_CACERT_BADFILE:
        return MU_CONFIG;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
    case CURLE_UNKNOWN_OPTION:
    case CURLE_NOT_BUILT_IN:
        return MU_INTERNAL;
    default:
        return MU_REFUSE;
    }
}

static long verify_result(CURL *easy)
{
    long verify = X509_V_OK;

    return curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &verify) == CURLE_OK ? verify
                                                                                   : X509_V_OK;
}

static const char *certificate_hint(long verify)
{
    switch (verify) {
    case X509_V_ERR_CERT_NOT_YET_VALID:
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "; is this machine's clock right?";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return "; its authority is not in the CA file";
    default:
        return "";
    }
}

/* This libcurl is built without texts for its errors, but the system has a text for why no server
 * answered. */
static const char *reason(const struct http *http, CURLcode rc, char *to, size_t cap)
{
    const char *text = http->message[0] != '\0' ? http->message : curl_easy_strerror(rc);
    const char *colon = strrchr(text, ':');
    long number = 0;

    if (rc != CURLE_COULDNT_CONNECT || colon == NULL ||
        curl_easy_getinfo(http->easy, CURLINFO_OS_ERRNO, &number) != CURLE_OK || number <= 0)
        return text;
    (void)snprintf(to, cap, "%.*s: %s", (int)(colon - text), text, strerror((int)number));
    return to;
}

static enum mu_status fail_curl(struct http *http, const char *url, CURLcode rc,
                                struct mu_error *err)
{
    char words[CURL_ERROR_SIZE + 64];
    const char *text = reason(http, rc, words, sizeof(words));
    char now[TIME_TEXT];
    long verify;

    if (http->overflow)
        return mu_fail(err, MU_REFUSE, "%s: the answer has more than %d bytes", url, HTTP_BODY_MAX);
    if (rc == CURLE_ABORTED_BY_CALLBACK)
        return mu_fail(err, MU_RETRY, "%s: no time is left", url);
    if (rc == CURLE_SSL_CACERT_BADFILE)
        return mu_fail(err, MU_CONFIG, "CA file %s: %s", http->ca_file, text);
    if (rc != CURLE_PEER_FAILED_VERIFICATION || http->ca_file == NULL)
        return mu_fail(err, class_of(rc), "%s: %s", url, text);
    verify = verify_result(http->easy);
    http->clock_is_behind = verify == X509_V_ERR_CERT_NOT_YET_VALID;
    (void)time_text_now(now);
    return mu_fail(err, MU_REFUSE,
                   "%s: the server's certificate does not verify with %s at %s: %s%s", url,
                   http->ca_file, now, text, certificate_hint(verify));
}

static CURLcode response_of(struct http *http, struct http_response *ret)
{
    struct http_response response = {.body = {http->body, http->body_len}};
    const char *type = NULL;
    struct curl_header *date;
    time_t when = -1;
    CURLcode rc = curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &response.status);

    if (rc != CURLE_OK)
        return rc;
    http->body[http->body_len] = '\0';
    (void)curl_easy_getinfo(http->easy, CURLINFO_CONTENT_TYPE, &type);
    if (type != NULL && strlen(type) < sizeof(response.content_type))
        (void)snprintf(response.content_type, sizeof(response.content_type), "%s", type);
    if (curl_easy_header(http->easy, "Date", 0, CURLH_HEADER, -1, &date) == CURLHE_OK)
        when = curl_getdate(date->value, NULL);
    response.date = when > 0 ? when : 0;
    *ret = response;
    return CURLE_OK;
}

enum mu_status http_perform(struct http *http, const struct http_request *request,
                            struct http_response *ret, struct mu_error *err)
{
    MU_CLEANUP(list_free) struct curl_slist *headers = NULL;
    enum mu_status status = MU_OK;
    CURLcode rc;

    if (deadline_passed(request->deadline))
        return mu_fail(err, MU_RETRY, "%s: no time is left", request->url);
    wipe_body(http);
    http->deadline = request->deadline;
    http->message[0] = '\0';
    http->clock_is_behind = false;
    MU_TRY(headers_of(request, &headers, err));
    rc = set_options(http, request, headers);
    if (rc == CURLE_OK) {
        rc = http_run(http);
        (void)curl_multi_remove_handle(http->multi, http->easy);
    }
    if (rc == CURLE_OK)
        rc = response_of(http, ret);
    if (rc != CURLE_OK)
        status = fail_curl(http, request->url, rc, err);
    curl_easy_reset(http->easy);
    return status;
}

bool http_clock_is_behind(const struct http *http)
{
    return http->clock_is_behind;
}

bool http_token_ok(struct bytes text, size_t min, size_t max)
{
    return text.len >= min && text.len <= max && text_is_word(text);
}
