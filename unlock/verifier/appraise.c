/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/judge.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "attest/verify_json.h"
#include "base/file.h"
#include "verifier/issue.h"

#define CERTIFICATES_MAX 65536
/* Larger than what is accepted, so that the refusal names the rule and not the encoding. */
#define DECODED_MAX JUDGE_BODY_MAX

enum http { OK = 200, BAD_REQUEST = 400, FORBIDDEN = 403, INTERNAL = 500, UNAVAILABLE = 503 };

void judgement_free(struct judgement *judgement)
{
    json_free(&judgement->answer);
}

/* A message may quote the request, and may have cut a character in two. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

static void refuse(struct judgement *ret, unsigned status, const char *word)
{
    make_printable(ret->why.text);
    ret->status = status;
    ret->error = word;
    json_free(&ret->answer);
    ret->answer = json_object_new_object();
    if (!json_add(ret->answer, "error", json_object_new_string(word)) ||
        !json_add(ret->answer, "detail", json_object_new_string(ret->why.text)))
        json_free(&ret->answer);
}

void judge_refuse(struct judgement *ret, unsigned status, const char *word, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(ret->why.text, sizeof(ret->why.text), format, arguments);
    va_end(arguments);
    refuse(ret, status, word);
}

/* What is not the request's fault is said in the log, not to whoever asks. */
static void fail(struct judgement *ret, enum mu_status status, unsigned refused, const char *word)
{
    if (status == MU_REFUSE) {
        refuse(ret, refused, word);
        return;
    }
    refuse(ret, status == MU_INTERNAL ? INTERNAL : UNAVAILABLE,
           status == MU_INTERNAL ? "internal" : "unavailable");
    if (ret->answer != NULL)
        (void)json_add(ret->answer, "detail", json_object_new_string("see the verifier's log"));
}

static bool answer_ok(struct judgement *ret)
{
    ret->status = OK;
    ret->answer = json_object_new_object();
    return ret->answer != NULL;
}

static void out_of_memory(struct judgement *ret)
{
    (void)mu_oom(&ret->why);
    fail(ret, MU_INTERNAL, INTERNAL, "internal");
}

/* ---- challenge ---- */

static enum mu_status parse_body(struct bytes body, const char *const *members, json_object **ret,
                                 struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;

    MU_TRY(json_parse(body, "the body", MU_REFUSE, &object, err));
    MU_TRY(json_only(object, "the body", members, MU_REFUSE, err));
    *ret = object;
    object = NULL;
    return MU_OK;
}

void judge_challenge(const struct material *material, struct bytes body, uint64_t now_ms,
                     struct judgement *ret)
{
    static const char *const members[] = {NULL};
    MU_CLEANUP(json_free) json_object *object = NULL;
    unsigned lifetime = material->settings.challenge_lifetime;
    uint8_t nonce[CHALLENGE_SIZE];
    char hex[2 * CHALLENGE_SIZE + 1];
    enum mu_status status = MU_OK;

    *ret = (struct judgement){0};
    if (body.len > 0 && parse_body(body, members, &object, &ret->why) != MU_OK) {
        refuse(ret, BAD_REQUEST, "malformed");
        return;
    }
    status =
        challenge_make(&material->challenge, now_ms + 1000 * (uint64_t)lifetime, nonce, &ret->why);
    if (status != MU_OK) {
        fail(ret, status, BAD_REQUEST, "malformed");
        return;
    }
    hex_encode((struct bytes){nonce, sizeof(nonce)}, hex);
    if (!answer_ok(ret) || !json_add(ret->answer, "nonce", json_object_new_string(hex)) ||
        !json_add(ret->answer, "expires_in", json_object_new_int((int)lifetime)))
        out_of_memory(ret);
}

/* ---- attest ---- */

struct evidence {
    struct buffer document, identity, certificates;
    char *certificates_path;
};

static void evidence_free(struct evidence *evidence)
{
    buffer_free(&evidence->document);
    buffer_free(&evidence->identity);
    buffer_free(&evidence->certificates);
    string_free(&evidence->certificates_path);
}

static enum mu_status decode(json_object *object, const char *name, struct buffer *ret,
                             struct mu_error *err)
{
    const char *text;

    MU_TRY(json_string(object, name, JUDGE_BODY_MAX, MU_REFUSE, &text, err));
    if (base64_decode(text, DECODED_MAX, ret, err) == MU_OK)
        return MU_OK;
    (void)mu_context(err, "\"%s\"", name);
    return err->status == MU_CONFIG ? MU_REFUSE : err->status;
}

static enum mu_status read_request(const struct settings *settings, struct bytes body,
                                   struct evidence *ret, struct mu_error *err)
{
    static const char *const members[] = {"document", "identity", NULL};
    MU_CLEANUP(json_free) json_object *object = NULL;

    MU_TRY(parse_body(body, members, &object, err));
    MU_TRY(decode(object, "document", &ret->document, err));
    if (settings->identity != IDENTITY_IGNORED &&
        json_object_object_get_ex(object, "identity", NULL))
        return decode(object, "identity", &ret->identity, err);
    if (settings->identity == IDENTITY_REQUIRED)
        return mu_fail(err, MU_REFUSE, "\"identity\" is missing, and this verifier demands it");
    return MU_OK;
}

/* The region's file may be missing: what region a document claims is not the configuration's fault.
 * What cannot be read is what the verification refuses. */
static enum mu_status load_certificates(const char *folder, struct evidence *evidence,
                                        struct identity_evidence *ret, struct mu_error *err)
{
    struct identity_facts facts = {0};
    struct mu_error refused = {0};
    struct stat st;

    *ret = (struct identity_evidence){.document = buffer_view(&evidence->identity)};
    if (identity_read(ret, &facts, &refused) != MU_OK)
        return MU_OK;
    if (asprintf(&evidence->certificates_path, "%s/%s.pem", folder, facts.region) < 0) {
        evidence->certificates_path = NULL;
        return mu_oom(err);
    }
    ret->certificates_name = evidence->certificates_path;
    if (stat(evidence->certificates_path, &st) != 0 && errno == ENOENT)
        return MU_OK;
    MU_TRY(file_read(evidence->certificates_path, CERTIFICATES_MAX, &evidence->certificates, err));
    ret->certificates = buffer_view(&evidence->certificates);
    return MU_OK;
}

static void refuse_with_checks(struct judgement *ret, const struct verify_report *report)
{
    refuse(ret, FORBIDDEN, "refused");
    if (ret->answer != NULL && !verify_add_checks(ret->answer, report))
        json_free(&ret->answer);
}

/* The instance itself has said this just now, however it looks. */
static bool is_genuine(const struct verify_report *report)
{
    static const enum verify_check_id needed[] = {CHECK_IDENTITY, CHECK_ROOT, CHECK_CHAIN,
                                                  CHECK_SIGNATURE, CHECK_NONCE};

    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (report->check[needed[i]].result != VERIFY_OK)
            return false;
    return true;
}

/* Fills in what verify_document leaves to whoever has several baselines. */
static enum mu_status match(const struct material *material, const struct document *document,
                            struct verify_report *report, struct judgement *ret)
{
    struct verify_check *check = &report->check[CHECK_BASELINE];
    struct pcr_values found;
    enum mu_status status;

    verify_pcrs(document, &found);
    status = golden_match(&material->golden, &found, &ret->golden, &ret->why);
    ret->matches = status == MU_OK;
    check->result = ret->matches ? VERIFY_OK : VERIFY_FAILED;
    if (ret->matches)
        (void)snprintf(check->detail, sizeof(check->detail), "equal: %s", ret->golden->name);
    else
        (void)snprintf(check->detail, sizeof(check->detail), "%.*s", (int)sizeof(check->detail) - 1,
                       ret->why.text);
    return status;
}

static bool add_facts(const struct judgement *judgement, const struct verify_report *report,
                      json_object *answer)
{
    const struct golden *golden = judgement->golden;

    return json_add(answer, "ok", json_object_new_boolean(true)) &&
           json_add(answer, "instance_id", json_object_new_string(report->instance_id)) &&
           json_add(answer, "baseline", json_object_new_string(golden->name)) &&
           json_add(answer, "baseline_version", json_object_new_string(golden->version)) &&
           json_add(answer, "state", json_object_new_string(golden_state_name(golden->state)));
}

/* An answer without a public key to encrypt to has no token: it would be anybody's. */
static void accept(const struct material *material, const struct finding *finding,
                   struct judgement *ret)
{
    MU_CLEANUP(string_free) char *token = NULL;
    enum mu_status status = MU_OK;

    if (finding->document->public_key.data != NULL)
        status = issue_token(material, finding, &token, &ret->why);
    if (status != MU_OK) {
        fail(ret, status, BAD_REQUEST, "key");
        return;
    }
    ret->token = token != NULL;
    if (!answer_ok(ret) || !add_facts(ret, finding->report, ret->answer) ||
        (token != NULL && (!json_add(ret->answer, "expires_in",
                                     json_object_new_int((int)material->settings.token_lifetime)) ||
                           !json_add(ret->answer, "token", json_object_new_string(token)))))
        out_of_memory(ret);
}

/* The nonce has been found to be ours; the policy repeats it so that the report says so. */
static void judge_document(const struct material *material, const struct document *document,
                           const struct identity_evidence *identity, uint64_t now_ms,
                           struct judgement *ret)
{
    const struct verify_policy policy = {
        .root = buffer_view(&material->root),
        .at_ms = now_ms,
        .max_age_s = material->settings.max_age,
        .nonce = document->nonce,
        .identity = identity,
        .cache = material->chains,
    };
    struct verify_report report;
    enum mu_status status = verify_document(document, &policy, &report, &ret->why);
    struct finding finding = {document, &report, NULL, now_ms};

    if (status != MU_OK && status != MU_REFUSE) {
        fail(ret, status, FORBIDDEN, "refused");
        return;
    }
    ret->genuine = is_genuine(&report);
    if (ret->genuine)
        memcpy(ret->instance_id, report.instance_id, sizeof(ret->instance_id));
    if (status == MU_OK)
        status = match(material, document, &report, ret);
    if (status == MU_OK) {
        finding.golden = ret->golden;
        accept(material, &finding, ret);
    } else if (status == MU_REFUSE) {
        refuse_with_checks(ret, &report);
    } else {
        fail(ret, status, FORBIDDEN, "refused");
    }
}

static void refuse_unreadable(struct bytes raw, uint64_t now_ms, struct judgement *ret)
{
    const struct verify_policy policy = {.at_ms = now_ms};
    MU_CLEANUP(document_free) struct document none = {0};
    struct verify_report report = {0};
    enum mu_status status = verify_bytes(raw, &policy, &none, &report, &ret->why);

    if (status == MU_REFUSE)
        refuse_with_checks(ret, &report);
    else
        fail(ret, status == MU_OK ? MU_INTERNAL : status, FORBIDDEN, "refused");
}

void judge_attest(const struct material *material, struct bytes body, uint64_t now_ms,
                  struct judgement *ret)
{
    MU_CLEANUP(evidence_free) struct evidence evidence = {0};
    MU_CLEANUP(document_free) struct document document = {0};
    struct identity_evidence identity = {0};
    enum mu_status status;

    *ret = (struct judgement){0};
    status = read_request(&material->settings, body, &evidence, &ret->why);
    if (status != MU_OK) {
        fail(ret, status, BAD_REQUEST, "malformed");
        return;
    }
    status = document_parse(buffer_view(&evidence.document), &document, &ret->why);
    if (status != MU_OK) {
        refuse_unreadable(buffer_view(&evidence.document), now_ms, ret);
        return;
    }
    status = challenge_check(&material->challenge, now_ms, document.nonce, &ret->why);
    if (status != MU_OK) {
        fail(ret, status, BAD_REQUEST, "nonce");
        return;
    }
    if (evidence.identity.data != NULL)
        status = load_certificates(material->settings.region_certificates, &evidence, &identity,
                                   &ret->why);
    if (status != MU_OK)
        fail(ret, status, FORBIDDEN, "refused");
    else
        judge_document(material, &document, evidence.identity.data != NULL ? &identity : NULL,
                       now_ms, ret);
}
