/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For test_release.py: release_driver VERB NAME=VALUE...; a failure is one line on standard error
 * and its class as exit code.
 *   credentials   IMDSv2; prints the access key ID
 *   encrypt       standard input under arn and uuid; prints the ciphertext in base64
 *   release       the whole provider; prints the released key in hex and the steps
 *   abandon       starts everything, then stops it; prints the microseconds that took
 *   version       prints libcurl's version
 * clock=SECONDS is by how much this process believes it is later than it is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/file.h"
#include "base/harden.h"
#include "base/trace.h"
#include "net/imds.h"
#include "release/kms.h"
#include "release/provider.h"

static int count;
static char **arguments;

static const char *argument(const char *name, const char *otherwise)
{
    size_t len = strlen(name);

    for (int i = 0; i < count; i++) {
        if (strncmp(arguments[i], name, len) == 0 && arguments[i][len] == '=')
            return arguments[i] + len + 1;
    }
    return otherwise;
}

/* Both in place of libc's, also for libcurl and OpenSSL. */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (syscall(SYS_clock_gettime, clock, ret) != 0)
        return -1;
    if (clock == CLOCK_REALTIME)
        ret->tv_sec += atoi(argument("clock", "0"));
    return 0;
}

time_t time(time_t *ret)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (ret != NULL)
        *ret = now.tv_sec;
    return now.tv_sec;
}

static struct provider_options make_options(void)
{
    return (struct provider_options){
        .aws = {.imds = argument("imds", ""),
                .ca_file = argument("ca_file", ""),
                .kms_endpoint = argument("kms_endpoint", NULL)},
    };
}

static struct deadline make_deadline(void)
{
    return deadline_in((uint64_t)atoi(argument("timeout", "10")));
}

static json_object *make_context(void)
{
    json_object *context = json_object_new_object();
    char identity[2 * VOLUME_IDENTITY_SIZE + 1];
    uint8_t zeroes[VOLUME_IDENTITY_SIZE] = {0};

    hex_encode((struct bytes){zeroes, sizeof(zeroes)}, identity);
    json_object_object_add(context, "volume-uuid", json_object_new_string(argument("uuid", "u")));
    json_object_object_add(context, "volume-identity", json_object_new_string(identity));
    return context;
}

static void make_record(struct record *record)
{
    json_object *keys = json_object_new_array(), *key = json_object_new_object();

    *record = (struct record){.version = 1, .provider = "aws-kms"};
    (void)snprintf(record->volume_uuid, sizeof(record->volume_uuid), "%s",
                   argument("record_uuid", argument("uuid", "u")));
    json_object_object_add(key, "key_arn", json_object_new_string(argument("arn", "")));
    json_object_object_add(key, "ciphertext", json_object_new_string(argument("ciphertext", "")));
    json_object_array_add(keys, key);
    record->provider_data = json_object_new_object();
    json_object_object_add(record->provider_data, "keys", keys);
    json_object_object_add(record->provider_data, "encryption_context", make_context());
}

static enum mu_status run_credentials(struct mu_error *err)
{
    MU_CLEANUP(aws_credentials_free) struct aws_credentials credentials = {0};

    MU_TRY(aws_credentials_from_imds(argument("imds", ""), make_deadline(), &credentials, err));
    printf("%.*s\n", (int)credentials.access_key_id.len, credentials.access_key_id.data);
    return MU_OK;
}

static enum mu_status run_encrypt(struct mu_error *err)
{
    MU_CLEANUP(aws_credentials_free) struct aws_credentials credentials = {0};
    MU_CLEANUP(json_free) json_object *context = make_context();
    MU_CLEANUP(buffer_free) struct buffer plaintext = {0};
    MU_CLEANUP(buffer_free) struct buffer ciphertext = {0};
    MU_CLEANUP(string_free) char *text = NULL;
    struct provider_options options = make_options();

    MU_TRY(file_read("-", 4096, &plaintext, err));
    MU_TRY(aws_credentials_from_environment(&credentials, err));
    MU_TRY(kms_encrypt(&options.aws, &credentials, argument("arn", ""), context,
                       buffer_view(&plaintext), make_deadline(), &ciphertext, err));
    MU_TRY(base64_encode(buffer_view(&ciphertext), &text, err));
    puts(text);
    return MU_OK;
}

static void finish(struct provider_session **session)
{
    provider_aws_kms.finish(session);
}

static void print_result(const struct secret *key)
{
    struct trace_step steps[TRACE_STEPS_MAX];
    size_t n = trace_steps(steps);
    char hex[2 * RELEASE_KEY_SIZE + 1];

    hex_encode(secret_view(key), hex);
    puts(hex);
    for (size_t i = 0; i < n; i++)
        printf("%s %llu\n", steps[i].name,
               (unsigned long long)(steps[i].end_us - steps[i].start_us));
}

static enum mu_status run_release(struct mu_error *err)
{
    MU_CLEANUP(record_free) struct record record = {0};
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    MU_CLEANUP(secret_free) struct secret key = {0};
    MU_CLEANUP(secret_free) struct secret again = {0};
    MU_CLEANUP(finish) struct provider_session *session = NULL;
    struct provider_volume *volume;
    struct provider_options options = make_options();
    struct deadline deadline = make_deadline();

    make_record(&record);
    MU_TRY(provider_aws_kms.start(&options, deadline, &session, err));
    MU_TRY(provider_aws_kms.volume(session, &record, &volume, err));
    MU_TRY(tpm_open(argument("tcti", NULL), deadline, &tpm, err));
    MU_TRY(provider_aws_kms.attest(session, tpm, err));
    MU_TRY(provider_aws_kms.release(volume, tpm, &key, err));
    if (argument("twice", NULL) != NULL)
        MU_TRY(provider_aws_kms.release(volume, tpm, &again, err));
    print_result(&key);
    return MU_OK;
}

static enum mu_status run_abandon(struct mu_error *err)
{
    MU_CLEANUP(record_free) struct record record = {0};
    MU_CLEANUP(finish) struct provider_session *session = NULL;
    struct provider_volume *volume;
    struct provider_options options = make_options();
    struct timespec settle = {.tv_nsec = 300000000};
    uint64_t start;

    make_record(&record);
    MU_TRY(provider_aws_kms.start(&options, make_deadline(), &session, err));
    MU_TRY(provider_aws_kms.volume(session, &record, &volume, err));
    nanosleep(&settle, NULL);
    start = clock_now_us();
    provider_aws_kms.finish(&session);
    printf("%llu\n", (unsigned long long)(clock_now_us() - start));
    return MU_OK;
}

static enum mu_status run_version(struct mu_error *err)
{
    (void)err;
    puts(curl_version_info(CURLVERSION_NOW)->version);
    return MU_OK;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        enum mu_status (*run)(struct mu_error *err);
    } verbs[] = {
        {"credentials", run_credentials}, {"encrypt", run_encrypt}, {"release", run_release},
        {"abandon", run_abandon},         {"version", run_version},
    };
    struct mu_error err = {0};
    enum mu_status status = MU_USAGE;

    if (argc < 2 || process_harden(PROCESS_TOOL, &err) != MU_OK)
        return MU_USAGE;
    count = argc - 2;
    arguments = argv + 2;
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(argv[1], verbs[i].name) == 0)
            status = verbs[i].run(&err);
    }
    if (status != MU_OK)
        fprintf(stderr, "%s\n", err.text);
    return (int)status;
}
