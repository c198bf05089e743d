/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A signer for systemd-report(1), whose interface is io.systemd.Report.Signer of systemd 262. What
 * Varlink is: https://varlink.org/Method-Call: messages are JSON objects that end with a zero byte.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attest/attest.h"
#include "ctl/ctl.h"

#define SERVICE "org.varlink.service"
#define SIGNER "io.systemd.Report.Signer"
#define MESSAGE_MAX 65536
#define DIGEST_SIZE 32 /* SHA-256, the only one there is */
#define NAME_SIZE 256
#define OPEN_SECONDS 10

static const char service_description[] =
    "interface " SERVICE "\n\n"
    "method GetInfo() -> (vendor: string, product: string, version: string, url: string, "
    "interfaces: []string)\n\n"
    "method GetInterfaceDescription(interface: string) -> (description: string)\n\n"
    "error InterfaceNotFound (interface: string)\n"
    "error MethodNotFound (method: string)\n"
    "error MethodNotImplemented (method: string)\n"
    "error InvalidParameter (parameter: string)\n";
static const char signer_description[] =
    "# Answers with attestation documents of a NitroTPM\n"
    "interface " SIGNER "\n\n"
    "# data: none, if this machine has no NitroTPM, or one object: document, in base64, whose "
    "nonce "
    "is the digest\n"
    "method Sign(digest: string, algorithm: string) -> (data: []object)\n";

static const struct {
    const char *name, *description;
} interfaces[] = {{SERVICE, service_description}, {SIGNER, signer_description}};

struct call {
    const char *tcti;
    json_object *parameters; /* NULL: none */
};

/* What a method answers: an error's name, or NULL; and its parameters. */
struct answer {
    const char *error;
    json_object *parameters;
};

static void answer_free(struct answer *answer)
{
    json_free(&answer->parameters);
}

static enum mu_status answer_error(struct answer *answer, const char *error, const char *name,
                                   const char *value, struct mu_error *err)
{
    answer->error = error;
    return json_add_text(answer->parameters, name, value) ? MU_OK : mu_oom(err);
}

static enum mu_status invalid(struct answer *answer, const char *parameter, struct mu_error *err)
{
    return answer_error(answer, SERVICE ".InvalidParameter", "parameter", parameter, err);
}

/* ---- methods ---- */

static enum mu_status get_info(const struct call *call, struct answer *answer, struct mu_error *err)
{
    json_object *to = answer->parameters, *names = json_object_new_array();
    bool fits = names != NULL;

    (void)call;
    for (size_t i = 0; i < MU_COUNT(interfaces); i++)
        fits = fits && json_append(names, json_object_new_string(interfaces[i].name));
    fits = json_add(to, "interfaces", names) && fits;
    return fits && json_add_text(to, "vendor", "measured-unlock") &&
                   json_add_text(to, "product", "muctl report sign") &&
                   json_add_text(to, "version", MU_VERSION) && json_add_text(to, "url", "")
               ? MU_OK
               : mu_oom(err);
}

static enum mu_status get_description(const struct call *call, struct answer *answer,
                                      struct mu_error *err)
{
    const char *name = json_text_of(call->parameters, "interface");

    if (*name == '\0')
        return invalid(answer, "interface", err);
    for (size_t i = 0; i < MU_COUNT(interfaces); i++)
        if (strcmp(interfaces[i].name, name) == 0)
            return json_add_text(answer->parameters, "description", interfaces[i].description)
                       ? MU_OK
                       : mu_oom(err);
    return answer_error(answer, SERVICE ".InterfaceNotFound", "interface", name, err);
}

/* It may not list the command, and answer it all the same. */
static enum mu_status is_nitrotpm(struct tpm *tpm, bool *ret, struct mu_error *err)
{
    char manufacturer[5];

    MU_TRY(tpm_manufacturer(tpm, manufacturer, err));
    *ret = strcmp(manufacturer, "AMZN") == 0;
    return *ret ? MU_OK : tpm_nsm_listed(tpm, ret, err);
}

/* *ret has no data if this machine has no NitroTPM. */
static enum mu_status attest_digest(const char *tcti, struct bytes digest, struct buffer *ret,
                                    struct mu_error *err)
{
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    struct nsm_fields fields = {.nonce = digest};
    enum mu_status status = tpm_open(tcti, deadline_in(OPEN_SECONDS), &tpm, err);
    bool can = false;

    if (status == MU_CONFIG)
        return MU_OK;
    if (status == MU_OK)
        status = is_nitrotpm(tpm, &can, err);
    return status == MU_OK && can ? nsm_attest(tpm, &fields, ret, err) : status;
}

static enum mu_status add_document(json_object *parameters, const struct buffer *document,
                                   struct mu_error *err)
{
    MU_CLEANUP(string_free) char *base64 = NULL;
    json_object *data = json_object_new_array(), *item = NULL;

    if (!json_add(parameters, "data", data))
        return mu_oom(err);
    if (document->data == NULL)
        return MU_OK;
    MU_TRY(base64_encode(buffer_view(document), &base64, err));
    item = json_object_new_object();
    return json_append(data, item) && json_add_text(item, "document", base64) ? MU_OK : mu_oom(err);
}

/* An error of the TPM is one of systemd's, which takes an errno and nothing else out of it. */
static enum mu_status sign(const struct call *call, struct answer *answer, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer document = {0};
    const char *hex = json_text_of(call->parameters, "digest");
    uint8_t digest[DIGEST_SIZE];
    struct mu_error why = {0};

    if (strcmp(json_text_of(call->parameters, "algorithm"), "SHA256") != 0)
        return invalid(answer, "algorithm", err);
    if (strlen(hex) != 2 * sizeof(digest) || !hex_decode(hex, digest, sizeof(digest)))
        return invalid(answer, "digest", err);
    if (attest_digest(call->tcti, (struct bytes){digest, sizeof(digest)}, &document, &why) == MU_OK)
        return add_document(answer->parameters, &document, err);
    (void)fprintf(stderr, "%s: %s\n", program_name(), why.text);
    return json_add(answer->parameters, "errno", json_object_new_int(EIO))
               ? answer_error(answer, "io.systemd.System", "origin", "linux", err)
               : mu_oom(err);
}

static const struct {
    const char *name;
    enum mu_status (*run)(const struct call *call, struct answer *answer, struct mu_error *err);
} methods[] = {
    {SERVICE ".GetInfo", get_info},
    {SERVICE ".GetInterfaceDescription", get_description},
    {SIGNER ".Sign", sign},
};

/* ---- the protocol ---- */

static enum mu_status dispatch(const char *method, const struct call *call, struct answer *answer,
                               struct mu_error *err)
{
    answer->parameters = json_object_new_object();
    if (answer->parameters == NULL)
        return mu_oom(err);
    for (size_t i = 0; i < MU_COUNT(methods); i++)
        if (strcmp(methods[i].name, method) == 0)
            return methods[i].run(call, answer, err);
    return answer_error(answer, SERVICE ".MethodNotFound", "method", method, err);
}

static enum mu_status send_answer(struct answer *answer, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *message = json_object_new_object();
    const char *text;

    if ((answer->error != NULL && !json_add_text(message, "error", answer->error)) ||
        !json_add(message, "parameters", MU_TAKE(answer->parameters)) ||
        (text = json_text(message)) == NULL)
        return mu_oom(err);
    if (fwrite(text, strlen(text) + 1, 1, stdout) != 1 || fflush(stdout) != 0)
        return mu_fail(err, MU_RETRY, "the caller does not take the answer: %s", strerror(errno));
    return MU_OK;
}

static enum mu_status answer_message(const char *tcti, struct bytes text, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *message = NULL;
    MU_CLEANUP(answer_free) struct answer answer = {0};
    struct call call = {.tcti = tcti};
    const char *method;
    json_object *oneway;

    MU_TRY(json_parse(text, "the message", MU_REFUSE, &message, err));
    MU_TRY(json_string(message, "method", NAME_SIZE, MU_REFUSE, &method, err));
    if (json_object_object_get_ex(message, "parameters", &call.parameters) &&
        !json_object_is_type(call.parameters, json_type_object))
        return mu_fail(err, MU_REFUSE, "the message's parameters are not an object");
    MU_TRY(dispatch(method, &call, &answer, err));
    if (json_object_object_get_ex(message, "oneway", &oneway) &&
        json_object_get_boolean(oneway) != 0)
        return MU_OK;
    return send_answer(&answer, err);
}

/* *ret_len is 0 at the end of what is said. */
static enum mu_status read_message(char *text, size_t *ret_len, struct mu_error *err)
{
    size_t len = 0;
    int c;

    while ((c = getchar()) != EOF && c != '\0') {
        if (len == MESSAGE_MAX)
            return mu_fail(err, MU_REFUSE, "the message has more than %d bytes", MESSAGE_MAX);
        text[len++] = (char)c;
    }
    if (ferror(stdin) != 0)
        return mu_fail(err, MU_RETRY, "standard input: %s", strerror(errno));
    if (c == EOF && len > 0)
        return mu_fail(err, MU_REFUSE, "the message is cut off");
    if (c == '\0' && len == 0)
        return mu_fail(err, MU_REFUSE, "the message is empty");
    *ret_len = len;
    return MU_OK;
}

static enum mu_status report_sign_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    const char *tcti = getenv("MU_TCTI");
    const struct cli_option options[] = {{"tcti", 't', .text = &tcti}, {0}};

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    if (isatty(STDIN_FILENO))
        return mu_fail(err, MU_USAGE,
                       "this speaks Varlink on standard input, for systemd: see "
                       "measured-unlock-report.socket");
    MU_TRY(buffer_alloc(&text, MESSAGE_MAX, err));
    for (;;) {
        size_t len = 0;

        MU_TRY(read_message((char *)text.data, &len, err));
        if (len == 0)
            return MU_OK;
        MU_TRY(answer_message(tcti, (struct bytes){text.data, len}, err));
    }
}

const struct verb verb_report_sign = {
    .name = "report sign",
    .synopsis = "[--tcti TCTI]",
    .summary = "sign a report of systemd-report with an attestation document",
    .help =
        "  -t, --tcti TCTI  the TPM, as device:/dev/tpmrm0 or swtpm:host=H,port=N\n"
        "\n"
        "Answers io.systemd.Report.Signer.Sign() of systemd 262 (Varlink) on standard input and\n"
        "output, for measured-unlock-report.socket: the answer is an attestation document that "
        "has\n"
        "the report's digest as its nonce. A machine without a NitroTPM answers with none.\n"
        "Example: systemctl start measured-unlock-report.socket\n",
    .run = report_sign_run,
};
