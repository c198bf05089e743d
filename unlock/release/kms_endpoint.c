/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "base/ini.h"
#include "net/http.h"
#include "release/kms_client.h"

/* AWS SDK partitions.json (botocore 1.44.8). */
static const struct partition {
    const char *name;
    const char *suffix;
    const char *dual_stack_suffix;
} partitions[] = {
    {"aws", "amazonaws.com", "api.aws"},
    {"aws-cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
    {"aws-us-gov", "amazonaws.com", "api.aws"},
    {"aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu"},
    {"aws-iso", "c2s.ic.gov", "api.aws.ic.gov"},
    {"aws-iso-b", "sc2s.sgov.gov", "api.aws.scloud"},
    {"aws-iso-e", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"},
    {"aws-iso-f", "csp.hci.ic.gov", "api.aws.hci.ic.gov"},
};

#define SCHEME "https://"
#define LOWER "abcdefghijklmnopqrstuvwxyz0123456789-"

/* One of the configured: URL, or REGION=URL. */
struct endpoint {
    struct bytes region; /* empty: of every region that has none of its own */
    char url[KMS_URL_MAX];
};

static enum mu_status parse_url(struct bytes url, char ret_url[static KMS_URL_MAX],
                                struct mu_error *err)
{
    static const size_t host = sizeof(SCHEME) - 1;
    char text[KMS_URL_MAX] = "";
    size_t len = url.len;

    if (len < sizeof(text))
        memcpy(text, url.data, len);
    while (len > 0 && url.data[len - 1] == '/')
        len--;
    if (strncmp(text, SCHEME, host) != 0 || len <= host || len + 2 > KMS_URL_MAX ||
        strcspn(text + host, "/?#@") < len - host ||
        !http_token_ok((struct bytes){url.data, len}, 1, KMS_URL_MAX))
        return mu_fail(err, MU_CONFIG,
                       "kms_endpoint: '%.*s' is not https://HOST or https://HOST:PORT",
                       (int)(url.len < 200 ? url.len : 200), (const char *)url.data);
    (void)snprintf(ret_url, KMS_URL_MAX, "%.*s/", (int)len, text);
    return MU_OK;
}

static enum mu_status parse_endpoint(struct bytes item, struct endpoint *ret, struct mu_error *err)
{
    const uint8_t *equals = memchr(item.data, '=', item.len);
    struct bytes region = {item.data, equals != NULL ? (size_t)(equals - item.data) : 0};
    size_t skip = 0;

    if (bytes_all_of(region, LOWER))
        skip = region.len + 1;
    ret->region = (struct bytes){item.data, skip > 0 ? region.len : 0};
    return parse_url((struct bytes){item.data + skip, item.len - skip}, ret->url, err);
}

/* Keeps an endpoint that fits the region better than what was found before. */
static enum mu_status prefer(const struct endpoint *endpoint, struct bytes region,
                             struct endpoint *best, bool *found, struct mu_error *err)
{
    if (endpoint->region.len > 0 && !bytes_equal(endpoint->region, region))
        return MU_OK;
    if (*found && bytes_equal(best->region, endpoint->region))
        return mu_fail(err, MU_CONFIG,
                       "kms_endpoint: two URLs for %s: one a region, as eu-west-1=https://HOST",
                       endpoint->region.len > 0 ? "one region" : "all regions");
    if (!*found || endpoint->region.len > 0)
        *best = *endpoint;
    *found = true;
    return MU_OK;
}

/* Every URL is looked at, whichever it is. */
static enum mu_status configured(const char *list, const char *region, bool *ret_found,
                                 char ret_url[static KMS_URL_MAX], struct mu_error *err)
{
    struct endpoint endpoint = {0}, best = {0};
    const char *at = list;
    struct bytes item = ini_next_item(&at, INI_LIST_BETWEEN);
    bool found = false;

    do {
        MU_TRY(parse_endpoint(item, &endpoint, err));
        MU_TRY(prefer(&endpoint, text_view(region), &best, &found, err));
        item = ini_next_item(&at, INI_LIST_BETWEEN);
    } while (item.len > 0);
    if (found)
        (void)snprintf(ret_url, KMS_URL_MAX, "%s", best.url);
    *ret_found = found;
    return MU_OK;
}

enum mu_status kms_endpoint(const struct aws_options *options, const char *region,
                            const char *partition, char ret_url[static KMS_URL_MAX],
                            struct mu_error *err)
{
    const char *suffix = NULL;
    bool found = false;

    if (options->kms_endpoint != NULL)
        MU_TRY(configured(options->kms_endpoint, region, &found, ret_url, err));
    if (found)
        return MU_OK;
    for (size_t i = 0; i < MU_COUNT(partitions); i++)
        if (strcmp(partition, partitions[i].name) == 0)
            suffix = options->dual_stack ? partitions[i].dual_stack_suffix : partitions[i].suffix;
    if (suffix == NULL)
        return mu_fail(err, MU_CONFIG,
                       "partition '%s' is not known: set kms_endpoint in the configuration",
                       partition);
    (void)snprintf(ret_url, KMS_URL_MAX, "https://kms%s.%s.%s/", options->fips ? "-fips" : "",
                   region, suffix);
    return MU_OK;
}
