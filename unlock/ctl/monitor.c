/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attest/attest.h"
#include "base/file.h"
#include "base/openssl.h"
#include "base/retry.h"
#include "base/signals.h"
#include "ctl/ctl.h"
#include "ctl/monitor.h"
#include "jose/token.h"
#include "net/imds.h"
#include "release/verifier_client.h"

#define TIMEOUT_MAX 3600u

struct monitor {
    struct monitor_settings settings;
    struct service *verifier;
    struct deadline deadline;
    EVP_PKEY *key; /* to which the token is encrypted; NULL: none is asked for */
    bool json;
};

static void monitor_free(struct monitor *monitor)
{
    service_close(&monitor->verifier);
    EVP_PKEY_free(monitor->key);
    monitor_settings_free(&monitor->settings);
}

static enum mu_status monitor_parse(int argc, char **argv, struct monitor *monitor,
                                    struct mu_error *err)
{
    const char *config = NULL, *verifier = NULL, *ca_file = NULL;
    const char *tcti = getenv("MU_TCTI"), *token = NULL, *audience = NULL;
    struct monitor_settings *settings = &monitor->settings;
    bool identity = false;
    uint64_t timeout = 0;
    const struct cli_option options[] = {
        {"config", 'c', .text = &config},
        {"verifier", 'v', .text = &verifier},
        {"ca-file", 0, .text = &ca_file},
        {"timeout", 0, .number = &timeout, .from = 1, .to = TIMEOUT_MAX},
        {"identity", 'i', .flag = &identity},
        {"token", 0, .text = &token},
        {"audience", 0, .text = &audience},
        {"tcti", 't', .text = &tcti},
        {"json", 'j', .flag = &monitor->json},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    if (config == NULL && access(MONITOR_DEFAULT_PATH, F_OK) == 0)
        config = MONITOR_DEFAULT_PATH;
    MU_TRY(monitor_settings_load(config, settings, err));
    if (verifier != NULL)
        MU_TRY(string_set(&settings->verifier, verifier, err));
    if (ca_file != NULL)
        MU_TRY(string_set(&settings->ca_file, ca_file, err));
    if (tcti != NULL)
        MU_TRY(string_set(&settings->tcti, tcti, err));
    if (token != NULL)
        MU_TRY(string_set(&settings->token, token, err));
    if (audience != NULL)
        MU_TRY(string_set(&settings->audience, audience, err));
    settings->timeout = timeout != 0 ? (unsigned)timeout : settings->timeout;
    settings->identity = settings->identity || identity;
    return monitor_settings_check(settings, config != NULL ? config : MONITOR_DEFAULT_PATH, err);
}

static enum mu_status make_key(EVP_PKEY **ret, struct mu_error *err)
{
    *ret = EVP_EC_gen("P-256");
    return *ret != NULL ? MU_OK : mu_fail(err, MU_INTERNAL, "cannot make an EC key");
}

/* Opened each time, because other programs need the TPM, too. */
static enum mu_status attest(struct monitor *monitor, struct bytes nonce, struct buffer *ret,
                             struct mu_error *err)
{
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    MU_CLEANUP(buffer_free) struct buffer spki = {0};
    struct nsm_fields fields = {.nonce = nonce};

    if (monitor->key != NULL)
        MU_TRY(ctl_encode_public_key(monitor->key, &spki, err));
    fields.public_key = buffer_view(&spki);
    MU_TRY(tpm_open(monitor->settings.tcti, monitor->deadline, &tpm, err));
    return nsm_attest(tpm, &fields, ret, err);
}

/* In the state `boot` the fence is open, and the volume's key can be asked for once more. */
static enum mu_status check_state(json_object *answer, struct mu_error *err)
{
    const char *state = json_text_of(answer, "state");

    if (strcmp(state, "running") == 0)
        return MU_OK;
    return mu_fail(err, MU_REFUSE,
                   "the verifier knows this machine in the state '%.20s' alone: its fence is open, "
                   "so that root can ask for the key of the volume; 'measured-unlock "
                   "fence' closes it, 'muctl doctor' says why it is open",
                   state);
}

/* One question and its answer; *ret is what was answered, also if the machine is refused. */
static enum mu_status ask(struct monitor *monitor, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer nonce = {0};
    MU_CLEANUP(buffer_free) struct buffer document = {0};
    MU_CLEANUP(buffer_free) struct buffer identity = {0};
    struct verifier_evidence evidence;
    int64_t seconds;
    bool wanted, stale;

    json_free(ret);
    MU_TRY(verifier_challenge(monitor->verifier, &nonce, &seconds, &wanted, err));
    MU_TRY(attest(monitor, buffer_view(&nonce), &document, err));
    if (wanted || monitor->settings.identity)
        MU_TRY(imds_identity(monitor->settings.imds, monitor->deadline, &identity, err));
    evidence = (struct verifier_evidence){buffer_view(&document), buffer_view(&identity),
                                          monitor->settings.audience};
    MU_TRY(verifier_attest(monitor->verifier, &evidence, ret, &stale, err));
    return check_state(*ret, err);
}

static enum mu_status ask_until_answered(struct monitor *monitor, json_object **ret,
                                         struct mu_error *err)
{
    static const struct retry_policy policy = {.first_ms = 500, .longest_ms = 5000};
    struct retry retry = {
        .policy = &policy, .deadline = monitor->deadline, .error = err, .tell = true};
    enum mu_status status;

    do
        status = ask(monitor, ret, err);
    while (retry_after(&retry, status));
    return status;
}

#define SIGNED_PARTS 3 /* of a compact token; an encrypted one has five */

static bool is_encrypted(const char *token)
{
    unsigned parts = 1;

    for (; *token != '\0'; token++)
        parts += *token == '.';
    return parts != SIGNED_PARTS;
}

/* For this machine's own programs: readable by root, whole at any time. */
static enum mu_status write_token(const char *path, json_object *answer, EVP_PKEY *key,
                                  struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret token = {0};
    const char *sent;
    int64_t seconds;

    MU_TRY(verifier_token(answer, &sent, &seconds, err));
    if (is_encrypted(sent))
        MU_TRY(token_decrypt(sent, key, &token, err));
    return file_write(path, token.data != NULL ? secret_view(&token) : text_view(sent), 0600, err);
}

static enum mu_status report(const struct monitor *monitor, json_object *answer, bool ok,
                             struct mu_error *err)
{
    const char *version = json_text_of(answer, "baseline_version");
    const char *token = monitor->settings.token;

    if (monitor->json) {
        json_object_object_del(answer, "token");
        if (!json_add(answer, "ok", json_object_new_boolean(ok)) ||
            !json_add_text(answer, "verifier", monitor->settings.verifier))
            return mu_oom(err);
        return cli_print_json("-", answer, err);
    }
    if (ok && (token == NULL || strcmp(token, "-") != 0))
        (void)printf("%s is unaltered: baseline %s%s%s, state %s\n",
                     json_text_of(answer, "instance_id"), json_text_of(answer, "baseline"),
                     version[0] != '\0' ? " " : "", version, json_text_of(answer, "state"));
    return MU_OK;
}

static enum mu_status monitor_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(monitor_free) struct monitor monitor = {0};
    MU_CLEANUP(json_free) json_object *answer = NULL;
    struct mu_error ignored;
    enum mu_status status;

    MU_TRY(monitor_parse(argc, argv, &monitor, err));
    MU_TRY(signals_install(err));
    monitor.deadline = deadline_in(monitor.settings.timeout);
    monitor.deadline.stop = signals_stop();
    MU_TRY(service_open("verifier", monitor.settings.verifier, monitor.settings.ca_file,
                        monitor.deadline, &monitor.verifier, err));
    if (monitor.settings.token != NULL)
        MU_TRY(make_key(&monitor.key, err));
    status = ask_until_answered(&monitor, &answer, err);
    if (status == MU_OK && monitor.settings.token != NULL)
        status = write_token(monitor.settings.token, answer, monitor.key, err);
    if (status == MU_OK)
        return report(&monitor, answer, true, err);
    if (answer != NULL && report(&monitor, answer, false, &ignored) != MU_OK)
        return status;
    return status;
}

const struct verb verb_monitor = {
    .name = "monitor",
    .synopsis = "[--verifier URL] [--ca-file FILE] [--token FILE [--audience A]] [OPTION...]",
    .summary = "show the verifier, with a fresh document, that this machine is unaltered",
    .help =
        "      --config FILE    default " MONITOR_DEFAULT_PATH ", if it is there\n"
        "      --verifier URL   https://HOST[:PORT] of a 'mu-verifier serve'\n"
        "      --ca-file FILE   whose certificates it may have; default: the system's authorities\n"
        "      --timeout S      how long to go on trying (default 60 seconds)\n"
        "  -i, --identity       send the instance identity document from IMDS, even if it is not "
        "asked for\n"
        "      --token FILE     write a token for other services there (mode 0600; '-': standard "
        "output)\n"
        "      --audience A     for whom the token is; default: the verifier's first audience\n"
        "      --tcti TCTI      device:PATH or swtpm:host=H,port=N (environment: MU_TCTI)\n"
        "      --json           the verifier's answer\n"
        "\n"
        "Exit code 0: unaltered, in the state running; 2: the verifier refused, and says what\n"
        "differs, or knows this machine in the state boot alone; 3: it could not be asked in "
        "time.\n"
        "\n"
        "Example: muctl monitor --verifier https://verifier.example.com\n",
    .run = monitor_run,
};
