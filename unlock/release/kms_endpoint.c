/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

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

enum kms_arn_field { ARN, PARTITION, SERVICE, REGION, ACCOUNT, RESOURCE, ARN_FIELDS };

static bool equals(struct bytes text, const char *value)
{
    return text.len == strlen(value) && memcmp(text.data, value, text.len) == 0;
}

static size_t split(const char *arn, struct bytes field[static ARN_FIELDS])
{
    size_t count = 0;

    for (const char *p = arn; p != NULL && count < ARN_FIELDS; count++) {
        const char *colon = count < RESOURCE ? strchr(p, ':') : NULL;

        field[count] = (struct bytes){(const uint8_t *)p, colon ? (size_t)(colon - p) : strlen(p)};
        p = colon ? colon + 1 : NULL;
    }
    return count;
}

enum mu_status kms_parse_key_arn(const char *arn, char ret_region[static 64],
                                 char ret_partition[static 32], struct mu_error *err)
{
    static const char key[] = "key/", name[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    struct bytes field[ARN_FIELDS] = {0};
    struct bytes id;

    if (split(arn, field) != ARN_FIELDS || !equals(field[ARN], "arn") ||
        !equals(field[SERVICE], "kms") || !bytes_all_of(field[PARTITION], name) ||
        field[PARTITION].len >= 32 || !bytes_all_of(field[REGION], name) ||
        field[REGION].len >= 64 || field[ACCOUNT].len != 12 ||
        !bytes_all_of(field[ACCOUNT], "0123456789"))
        return mu_fail(err, MU_REFUSE,
                       "'%.200s' is not arn:<partition>:kms:<region>:<account>:key/<id>", arn);
    id = field[RESOURCE];
    if (id.len <= sizeof(key) - 1 || memcmp(id.data, key, sizeof(key) - 1) != 0)
        return mu_fail(err, MU_REFUSE,
                       "'%.200s' does not name a key; an alias can be moved: use the key's ARN",
                       arn);
    id = (struct bytes){id.data + sizeof(key) - 1, id.len - (sizeof(key) - 1)};
    if (id.len != 36 || !bytes_all_of(id, name))
        return mu_fail(err, MU_REFUSE, "'%.200s' does not end in the ID of a key", arn);
    memcpy(ret_region, field[REGION].data, field[REGION].len);
    ret_region[field[REGION].len] = '\0';
    memcpy(ret_partition, field[PARTITION].data, field[PARTITION].len);
    ret_partition[field[PARTITION].len] = '\0';
    return MU_OK;
}

static enum mu_status configured(const char *url, char ret_url[static KMS_URL_MAX],
                                 struct mu_error *err)
{
    static const char scheme[] = "https://";
    size_t len = strlen(url);
    size_t host = sizeof(scheme) - 1;

    while (len > 0 && url[len - 1] == '/')
        len--;
    if (strncmp(url, scheme, host) != 0 || len <= host || len + 2 > KMS_URL_MAX ||
        strcspn(url + host, "/?#@") < len - host ||
        !http_token_ok((struct bytes){(const uint8_t *)url, len}, 1, KMS_URL_MAX))
        return mu_fail(err, MU_CONFIG,
                       "kms_endpoint: '%.200s' is not https://HOST or https://HOST:PORT", url);
    (void)snprintf(ret_url, KMS_URL_MAX, "%.*s/", (int)len, url);
    return MU_OK;
}

enum mu_status kms_endpoint(const struct aws_options *options, const char *region,
                            const char *partition, char ret_url[static KMS_URL_MAX],
                            struct mu_error *err)
{
    const char *suffix = NULL;

    if (options->kms_endpoint != NULL)
        return configured(options->kms_endpoint, ret_url, err);
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
