/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attest/nsm.h"
#include "base/signals.h"
#include "ctl/ctl.h"
#include "ctl/monitor.h"
#include "release/http.h"
#include "release/imds.h"

#define DEFAULT_TIMEOUT 60
#define TIMEOUT_MAX 3600u
#define REQUEST_MS 15000u
#define FIRST_PAUSE_MS 500
#define LONGEST_PAUSE_MS 5000
#define URL_MAX 512

struct monitor {
    struct monitor_settings settings;
    struct http *http;
    struct deadline deadline;
    bool json;
};

static void monitor_free(struct monitor *monitor)
{
    http_close(&monitor->http);
    monitor_settings_free(&monitor->settings);
}

static enum mu_status replace(char **field, const char *value, struct mu_error *err)
{
    char *copy;

    if (value == NULL)
        return MU_OK;
    copy = strdup(value);
    if (copy == NULL)
        return mu_oom(err);
    free(*field);
    *field = copy;
    return MU_OK;
}

static enum mu_status take_timeout(const char *text, unsigned *ret, struct mu_error *err)
{
    unsigned long value;

    if (text == NULL)
        return MU_OK;
    value = strspn(text, "0123456789") == strlen(text) && strlen(text) < 6 ? strtoul(text, NULL, 10)
                                                                           : 0;
    if (value == 0 || value > TIMEOUT_MAX)
        return mu_fail(err, MU_USAGE, "--timeout: '%.20s' is not 1 to %u seconds", text,
                       TIMEOUT_MAX);
    *ret = (unsigned)value;
    return MU_OK;
}

static enum mu_status parse(int argc, char **argv, struct monitor *monitor, struct mu_error *err)
{
    const char *config = NULL, *verifier = NULL, *ca_file = NULL, *timeout = NULL;
    const char *tcti = getenv("MU_TCTI");
    struct monitor_settings *settings = &monitor->settings;
    bool identity = false;
    const struct ctl_option options[] = {
        {"config", 'c', .text = &config},      {"verifier", 'v', .text = &verifier},
        {"ca-file", 0, .text = &ca_file},      {"timeout", 0, .text = &timeout},
        {"identity", 'i', .flag = &identity},  {"tcti", 't', .text = &tcti},
        {"json", 'j', .flag = &monitor->json}, {0},
    };

    settings->timeout = DEFAULT_TIMEOUT;
    MU_TRY(ctl_options(argc, argv, options, 0, 0, err));
    if (config != NULL || access(MONITOR_DEFAULT_PATH, F_OK) == 0)
        MU_TRY(
            monitor_settings_load(config != NULL ? config : MONITOR_DEFAULT_PATH, settings, err));
    MU_TRY(replace(&settings->verifier, verifier, err));
    MU_TRY(replace(&settings->ca_file, ca_file, err));
    MU_TRY(replace(&settings->tcti, tcti, err));
    MU_TRY(take_timeout(timeout, &settings->timeout, err));
    settings->identity = settings->identity || identity;
    return monitor_settings_check(settings, config != NULL ? config : MONITOR_DEFAULT_PATH, err);
}

static enum mu_status post(struct monitor *monitor, const char *path, const char *body,
                           long *ret_status, json_object **ret, struct mu_error *err)
{
    static const char type[] = "application/json";
    char url[URL_MAX];
    const struct http_request request = {
        .method = "POST",
        .url = url,
        .header = {{"Content-Type", {(const uint8_t *)type, sizeof(type) - 1}}},
        .body = {(const uint8_t *)body, strlen(body)},
        .connect_ms = REQUEST_MS,
        .total_ms = REQUEST_MS,
        .deadline = monitor->deadline,
    };
    struct http_response response;

    (void)snprintf(url, sizeof(url), "%s%s", monitor->settings.verifier, path);
    MU_TRY(http_perform(monitor->http, &request, &response, err));
    *ret_status = response.status;
    if (json_parse(response.body, url, MU_RETRY, ret, err) == MU_OK &&
        json_object_is_type(*ret, json_type_object))
        return MU_OK;
    json_free(ret);
    return mu_fail(err, response.status < 500 ? MU_CONFIG : MU_RETRY,
                   "%s: HTTP status %ld, and no JSON: is there a verifier?", url, response.status);
}

static const char *text_of(json_object *object, const char *name)
{
    json_object *member;

    return json_object_object_get_ex(object, name, &member) &&
                   json_object_is_type(member, json_type_string)
               ? json_object_get_string(member)
               : "";
}

/* A nonce that is too old is no refusal: there is a new one next time. */
static enum mu_status class_of(long status, const char *word)
{
    if (status == 403)
        return MU_REFUSE;
    if (status == 429 || status >= 500 || (status == 400 && strcmp(word, "nonce") == 0))
        return MU_RETRY;
    return MU_CONFIG;
}

static enum mu_status explain(const struct monitor *monitor, long status, json_object *answer,
                              struct mu_error *err)
{
    const char *word = text_of(answer, "error"), *detail = text_of(answer, "detail");
    enum mu_status class = class_of(status, word);

    if (class == MU_REFUSE)
        return mu_fail(err, MU_REFUSE, "%s: %s", monitor->settings.verifier,
                       detail[0] != '\0' ? detail : "this machine is not as it should be");
    return mu_fail(err, class, "%s: HTTP status %ld, %.40s%s%s", monitor->settings.verifier, status,
                   word, detail[0] != '\0' ? ": " : "", detail);
}

static enum mu_status challenge(struct monitor *monitor, struct buffer *ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *answer = NULL;
    const char *hex;
    long status = 0;

    MU_TRY(post(monitor, "/v1/challenge", "{}", &status, &answer, err));
    if (status != 200)
        return explain(monitor, status, answer, err);
    MU_TRY(json_string(answer, "nonce", (size_t)2 * NSM_FIELD_MAX, MU_CONFIG, &hex, err));
    MU_TRY(buffer_alloc(ret, strlen(hex) / 2, err));
    return ret->len > 0 && hex_decode(hex, ret->data, ret->len)
               ? MU_OK
               : mu_fail(err, MU_CONFIG, "%s: the nonce is not hex", monitor->settings.verifier);
}

/* Opened anew each time, since other programs want the TPM, too. */
static enum mu_status attest(struct monitor *monitor, struct bytes nonce, struct buffer *ret,
                             struct mu_error *err)
{
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    const struct nsm_fields fields = {.nonce = nonce};

    MU_TRY(tpm_open(monitor->settings.tcti, monitor->deadline, &tpm, err));
    return nsm_attest(tpm, &fields, ret, err);
}

static bool add_base64(json_object *object, const char *name, struct bytes value,
                       struct mu_error *err)
{
    MU_CLEANUP(string_free) char *text = NULL;

    return base64_encode(value, &text, err) == MU_OK &&
           json_add(object, name, json_object_new_string(text));
}

static enum mu_status evidence(struct monitor *monitor, struct bytes document, json_object **ret,
                               struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();
    MU_CLEANUP(buffer_free) struct buffer identity = {0};

    if (monitor->settings.identity)
        MU_TRY(imds_identity(monitor->settings.imds, monitor->deadline, &identity, err));
    if (object == NULL || !add_base64(object, "document", document, err) ||
        (identity.len > 0 && !add_base64(object, "identity", buffer_view(&identity), err)))
        return mu_oom(err);
    *ret = object;
    object = NULL;
    return MU_OK;
}

/* One question and its answer; *ret is set whenever the verifier judged. */
static enum mu_status ask(struct monitor *monitor, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer nonce = {0};
    MU_CLEANUP(buffer_free) struct buffer document = {0};
    MU_CLEANUP(json_free) json_object *body = NULL;
    long status = 0;

    json_free(ret);
    MU_TRY(challenge(monitor, &nonce, err));
    MU_TRY(attest(monitor, buffer_view(&nonce), &document, err));
    MU_TRY(evidence(monitor, buffer_view(&document), &body, err));
    MU_TRY(post(monitor, "/v1/attest",
                json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN |
                                                         JSON_C_TO_STRING_NOSLASHESCAPE),
                &status, ret, err));
    return status == 200 ? MU_OK : explain(monitor, status, *ret, err);
}

static enum mu_status ask_until_answered(struct monitor *monitor, json_object **ret,
                                         struct mu_error *err)
{
    for (unsigned attempt = 0;; attempt++) {
        struct mu_error why = {0};
        enum mu_status status = ask(monitor, ret, &why);

        /* What ends at the deadline says less than what went before. */
        if (status == MU_OK || attempt == 0 || !deadline_passed(monitor->deadline))
            *err = why;
        if (status != MU_RETRY)
            return status;
        if (!backoff_sleep(attempt, FIRST_PAUSE_MS, LONGEST_PAUSE_MS, monitor->deadline))
            return err->status;
    }
}

static enum mu_status report(const struct monitor *monitor, json_object *answer, bool ok,
                             struct mu_error *err)
{
    const char *version = text_of(answer, "baseline_version");

    if (monitor->json) {
        json_object_object_del(answer, "token");
        if (!json_add(answer, "ok", json_object_new_boolean(ok)) ||
            !json_add(answer, "verifier", json_object_new_string(monitor->settings.verifier)))
            return mu_oom(err);
        return ctl_print_json("-", answer, err);
    }
    if (ok)
        (void)printf("%s is unaltered: baseline %s%s%s, state %s\n", text_of(answer, "instance_id"),
                     text_of(answer, "baseline"), version[0] != '\0' ? " " : "", version,
                     text_of(answer, "state"));
    return MU_OK;
}

static enum mu_status run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(monitor_free) struct monitor monitor = {0};
    MU_CLEANUP(json_free) json_object *answer = NULL;
    struct mu_error ignored;
    enum mu_status status;

    MU_TRY(parse(argc, argv, &monitor, err));
    MU_TRY(signals_install(err));
    monitor.deadline = deadline_in(monitor.settings.timeout);
    monitor.deadline.stop = signals_stop();
    MU_TRY(http_open(monitor.settings.ca_file, &monitor.http, err));
    status = ask_until_answered(&monitor, &answer, err);
    if (status == MU_OK)
        return report(&monitor, answer, true, err);
    if (answer != NULL && report(&monitor, answer, false, &ignored) != MU_OK)
        return status;
    return status;
}

const struct verb verb_monitor = {
    .name = "monitor",
    .synopsis = "[--verifier URL] [--ca-file FILE] [--timeout S] [--identity] [--json]",
    .summary = "show the verifier, with a fresh document, that this machine is unaltered",
    .help =
        "      --config FILE    default " MONITOR_DEFAULT_PATH ", if it is there\n"
        "      --verifier URL   https://HOST[:PORT] of a 'muctl verifier'\n"
        "      --ca-file FILE   whose certificates it may have; default: the system's authorities\n"
        "      --timeout S      how long to go on trying (default 60 seconds)\n"
        "  -i, --identity       send the instance identity document from IMDS, too\n"
        "      --tcti TCTI      device:PATH or swtpm:host=H,port=N (environment: MU_TCTI)\n"
        "      --json           the verifier's answer\n"
        "\n"
        "Exit code 0: unaltered; 2: the verifier refused, and says what differs; 3: it could not\n"
        "be asked in time.\n"
        "\n"
        "Example: muctl monitor --verifier https://verifier.example.com\n",
    .run = run,
};
