/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/watch_internal.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/file.h"
#include "base/secret.h"
#include "net/http.h"

#define KEY_MAX 4096
#define MAC_SIZE 32
#define SCHEME "sha256="
#define SIGNATURE_SIZE (sizeof(SCHEME) + (size_t)2 * MAC_SIZE)

/* The file's bytes as they are, without a newline at the end. Read each time: it may be changed
 * without a restart. */
static enum mu_status load_key(const char *path, struct secret *ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_wipe) struct buffer file = {0};
    size_t len;

    MU_TRY(file_read(path, KEY_MAX, &file, err));
    len = file.len;
    if (len > 0 && file.data[len - 1] == '\n')
        len--;
    if (len == 0)
        return mu_fail(err, MU_CONFIG, "%s: empty", path);
    MU_TRY(secret_alloc(ret, len, err));
    memcpy(ret->data, file.data, len);
    return MU_OK;
}

/* "sha256=<hex of HMAC-SHA-256 over the body>" */
static enum mu_status sign(const char *key_file, struct bytes event,
                           char ret[static SIGNATURE_SIZE], struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret key = {0};
    uint8_t mac[MAC_SIZE];
    unsigned len = 0;

    MU_TRY(load_key(key_file, &key, err));
    if (HMAC(EVP_sha256(), key.data, (int)key.len, event.data, event.len, mac, &len) == NULL ||
        len != MAC_SIZE)
        return mu_oom(err);
    memcpy(ret, SCHEME, sizeof(SCHEME));
    hex_encode((struct bytes){mac, sizeof(mac)}, ret + sizeof(SCHEME) - 1);
    return MU_OK;
}

static struct bytes text(const char *value)
{
    return text_view(value);
}

/* A connection each time: between two events it would be closed anyway. */
enum mu_status watch_webhook_deliver(const struct watch_to *webhook, struct bytes event,
                                     struct deadline deadline, struct mu_error *err)
{
    bool tls = strncmp(webhook->to, "https:", 6) == 0;
    MU_CLEANUP(http_close) struct http *http = NULL;
    char signature[SIGNATURE_SIZE] = "";
    struct http_request request = {.method = "POST",
                                   .url = webhook->to,
                                   .header = {{"Content-Type", text("application/json")}},
                                   .body = event,
                                   .connect_ms = webhook->timeout * 1000,
                                   .total_ms = webhook->timeout * 1000,
                                   .deadline = deadline};
    struct http_response response;

    if (webhook->key_file != NULL)
        MU_TRY(sign(webhook->key_file, event, signature, err));
    request.header[1] = (struct http_header){"X-Measured-Unlock-Signature", text(signature)};
    MU_TRY(http_open(tls ? webhook->ca_file : NULL, &http, err));
    MU_TRY(http_perform(http, &request, &response, err));
    if (response.status < 200 || response.status > 299)
        return mu_fail(err, MU_RETRY, "%s: status %ld", webhook->to, response.status);
    return MU_OK;
}
