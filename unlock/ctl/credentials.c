/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/credentials.h"

#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "ctl/ctl.h"
#include "net/imds.h"

#define FILE_MAX 32768
#define NETWORK_SECONDS 60

struct exported {
    struct credentials_text text;
    const char *expiration; /* NULL: none */
};

static enum mu_status from_object(json_object *object, struct exported *ret, struct mu_error *err)
{
    int64_t version;

    MU_TRY(json_integer(object, "Version", 1, 1, MU_CONFIG, &version, err));
    MU_TRY(json_string(object, "AccessKeyId", 128, MU_CONFIG, &ret->text.access_key_id, err));
    MU_TRY(
        json_string(object, "SecretAccessKey", 256, MU_CONFIG, &ret->text.secret_access_key, err));
    if (json_object_object_get_ex(object, "SessionToken", NULL))
        MU_TRY(json_string(object, "SessionToken", 8192, MU_CONFIG, &ret->text.session_token, err));
    if (json_object_object_get_ex(object, "Expiration", NULL))
        MU_TRY(json_string(object, "Expiration", 64, MU_CONFIG, &ret->expiration, err));
    return MU_OK;
}

/* The lines `[export ]NAME=VALUE` of a text that is changed: each ends with a zero byte then. */
static enum mu_status from_lines(char *text, struct exported *ret, struct mu_error *err)
{
    const struct {
        const char *name;
        const char **value;
    } known[] = {
        {"AWS_ACCESS_KEY_ID=", &ret->text.access_key_id},
        {"AWS_SECRET_ACCESS_KEY=", &ret->text.secret_access_key},
        {"AWS_SESSION_TOKEN=", &ret->text.session_token},
        {"AWS_CREDENTIAL_EXPIRATION=", &ret->expiration},
    };
    char *rest = text;
    char *line;

    while ((line = strsep(&rest, "\r\n")) != NULL) {
        if (strncmp(line, "export ", 7) == 0)
            line += 7;
        for (size_t i = 0; i < MU_COUNT(known); i++)
            if (strncmp(line, known[i].name, strlen(known[i].name)) == 0)
                *known[i].value = line + strlen(known[i].name);
    }
    if (ret->text.access_key_id == NULL || ret->text.secret_access_key == NULL)
        return mu_fail(err, MU_CONFIG,
                       "this is not what 'aws configure export-credentials' prints");
    return MU_OK;
}

static enum mu_status check_expiration(const char *text, struct mu_error *err)
{
    uint64_t at_ms, now_s;

    if (text == NULL)
        return MU_OK;
    if (!time_parse(text, &at_ms))
        return mu_fail(err, MU_CONFIG, "the time of expiration is not one of RFC 3339");
    now_s = time_now_ms() / 1000;
    if (now_s == 0 || at_ms / 1000 <= now_s)
        return mu_fail(err, MU_CONFIG,
                       "the credentials expired at %.40s: log in again, and run 'aws configure "
                       "export-credentials' again",
                       text);
    return MU_OK;
}

static enum mu_status credentials_parse(struct secret *file, struct aws_credentials *ret,
                                        struct mu_error *err)
{
    MU_CLEANUP(json_wipe) json_object *object = NULL;
    MU_CLEANUP(secret_free) struct secret text = {0};
    struct exported exported = {0};

    if (memchr(file->data, '\0', file->len) != NULL)
        return mu_fail(err, MU_CONFIG, "it contains a zero byte");
    MU_TRY(secret_alloc(&text, file->len + 1, err));
    memcpy(text.data, file->data, file->len);
    text.data[file->len] = '\0';
    if (text.data[strspn((char *)text.data, " \t\r\n")] == '{') {
        MU_TRY(json_parse(secret_view(file), "credentials", MU_CONFIG, &object, err));
        MU_TRY(from_object(object, &exported, err));
    } else {
        MU_TRY(from_lines((char *)text.data, &exported, err));
    }
    MU_TRY(check_expiration(exported.expiration, err));
    return aws_credentials_make(&exported.text, MU_CONFIG, ret, err);
}

enum mu_status ctl_read_credentials(const char *path, struct aws_credentials *ret,
                                    struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret file = {0};

    MU_TRY(ctl_read_secret(path, FILE_MAX, &file, err));
    if (credentials_parse(&file, ret, err) != MU_OK)
        return mu_context(err, "%s", strcmp(path, "-") == 0 ? "--credentials" : path);
    return MU_OK;
}

enum mu_status ctl_find_credentials(const char *imds, struct deadline deadline,
                                    struct aws_credentials *ret, struct mu_error *err)
{
    if (getenv("AWS_ACCESS_KEY_ID") != NULL)
        return aws_credentials_from_environment(ret, err);
    if (aws_credentials_from_imds(imds, deadline, ret, err) != MU_OK)
        return mu_context(err, "no AWS_ACCESS_KEY_ID in the environment, and");
    return MU_OK;
}

enum mu_status ctl_open_signer(const struct signer_arguments *a, struct signer *ret,
                               struct mu_error *err)
{
    MU_CLEANUP(signer_free) struct signer signer = {0};

    MU_TRY(signer_open(a->key, a->public_key, &signer, err));
    signer.aws = a->aws;
    signer.credentials = a->credentials;
    if (signer_is_kms(a->key) && a->credentials == NULL)
        MU_TRY(
            ctl_find_credentials(a->aws->imds, deadline_in(NETWORK_SECONDS), &signer.found, err));
    *ret = MU_TAKE(signer);
    return MU_OK;
}
