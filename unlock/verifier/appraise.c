/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/appraise.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"

/* Larger than what is accepted, so that the refusal names the rule and not the encoding. */
#define DECODED_MAX APPRAISE_BODY_MAX

#define AUDIENCE_MAX 1024 /* characters of the value */
#define MINUTE_S 60.0

enum http {
    OK = 200,
    BAD_REQUEST = 400,
    FORBIDDEN = 403,
    TOO_MANY_REQUESTS = 429,
    INTERNAL = 500,
    UNAVAILABLE = 503,
};

void appraisal_free(struct appraisal *appraisal)
{
    json_free(&appraisal->answer);
    approved_release(&appraisal->images);
}

static void refuse(struct appraisal *ret, unsigned status, const char *word)
{
    text_make_printable(ret->why.text); /* it may quote the request, and end within a character */
    ret->status = status;
    ret->error = word;
    json_free(&ret->answer);
    ret->answer = json_object_new_object();
    if (!json_add_text(ret->answer, "error", word) ||
        !json_add_text(ret->answer, "detail", ret->why.text))
        json_free(&ret->answer);
}

void appraise_refuse(struct appraisal *ret, unsigned status, const char *word, const char *format,
                     ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(ret->why.text, sizeof(ret->why.text), format, arguments);
    va_end(arguments);
    refuse(ret, status, word);
}

/* A fault that is not the request's goes to the log, not to the sender. */
static void appraise_fail(struct appraisal *ret, enum mu_status status, unsigned refused,
                          const char *word)
{
    if (status == MU_REFUSE) {
        refuse(ret, refused, word);
        return;
    }
    refuse(ret, status == MU_INTERNAL ? INTERNAL : UNAVAILABLE,
           status == MU_INTERNAL ? "internal" : "unavailable");
    if (ret->answer != NULL)
        (void)json_add_text(ret->answer, "detail", "see the verifier's log");
}

static bool failed(struct appraisal *ret, enum mu_status status, unsigned refused, const char *word)
{
    if (status != MU_OK)
        appraise_fail(ret, status, refused, word);
    return status != MU_OK;
}

static bool answer_ok(struct appraisal *ret)
{
    ret->status = OK;
    ret->answer = json_object_new_object();
    return ret->answer != NULL;
}

static void out_of_memory(struct appraisal *ret)
{
    (void)mu_oom(&ret->why);
    appraise_fail(ret, MU_INTERNAL, INTERNAL, "internal");
}

/* ---- challenge ---- */

static enum mu_status parse_body(struct bytes body, const char *const *members, json_object **ret,
                                 struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;

    MU_TRY(json_parse(body, "the body", MU_REFUSE, &object, err));
    MU_TRY(json_only(object, "the body", members, MU_REFUSE, err));
    *ret = MU_TAKE(object);
    return MU_OK;
}

void appraise_challenge(const struct verifier *verifier, struct bytes body, uint64_t now_ms,
                        struct appraisal *ret)
{
    static const char *const members[] = {NULL};
    MU_CLEANUP(json_free) json_object *object = NULL;
    enum identity_demand demand = verifier->settings.identity;
    unsigned lifetime = verifier->settings.challenge_lifetime;
    uint8_t nonce[CHALLENGE_SIZE];
    char hex[2 * CHALLENGE_SIZE + 1];

    *ret = (struct appraisal){0};
    if (body.len > 0 && parse_body(body, members, &object, &ret->why) != MU_OK) {
        refuse(ret, BAD_REQUEST, "malformed");
        return;
    }
    if (failed(ret,
               challenge_make(&verifier->challenge, now_ms + 1000 * (uint64_t)lifetime, nonce,
                              &ret->why),
               BAD_REQUEST, "malformed"))
        return;
    hex_encode((struct bytes){nonce, sizeof(nonce)}, hex);
    if (!answer_ok(ret) || !json_add_text(ret->answer, "nonce", hex) ||
        !json_add(ret->answer, "expires_in", json_object_new_int((int)lifetime)) ||
        (demand != IDENTITY_IGNORED &&
         !json_add_text(ret->answer, "identity", identity_demand_name(demand))))
        out_of_memory(ret);
}

/* ---- attest ---- */

/* What a request brings, and what is needed to answer it. */
struct asked {
    struct buffer document;
    struct identity_files identity;
    const struct audience *audience;
    struct limiter *tokens;
};

static void asked_free(struct asked *asked)
{
    buffer_free(&asked->document);
    identity_files_free(&asked->identity);
}

static enum mu_status read_audience(const struct audiences *audiences, json_object *object,
                                    const struct audience **ret, struct mu_error *err)
{
    const char *value = NULL;

    if (json_object_object_get_ex(object, "audience", NULL))
        MU_TRY(json_string(object, "audience", AUDIENCE_MAX, MU_REFUSE, &value, err));
    *ret = audience_find(audiences, value);
    if (*ret == NULL)
        return mu_fail(err, MU_REFUSE, "this verifier has no audience '%.80s'", value);
    return MU_OK;
}

static enum mu_status read_request(const struct verifier *verifier, struct bytes body,
                                   struct asked *ret, struct mu_error *err)
{
    static const char *const members[] = {"document", "identity", "audience", NULL};
    const struct settings *settings = &verifier->settings;
    MU_CLEANUP(json_free) json_object *object = NULL;

    MU_TRY(parse_body(body, members, &object, err));
    MU_TRY(read_audience(&verifier->audiences, object, &ret->audience, err));
    MU_TRY(json_base64(object, "document", DECODED_MAX, MU_REFUSE, &ret->document, err));
    if (settings->identity != IDENTITY_IGNORED &&
        json_object_object_get_ex(object, "identity", NULL))
        return json_base64(object, "identity", DECODED_MAX, MU_REFUSE, &ret->identity.document,
                           err);
    if (settings->identity == IDENTITY_REQUIRED)
        return mu_fail(err, MU_REFUSE, "\"identity\" is missing, and this verifier demands it");
    return MU_OK;
}

static void refuse_with_checks(struct appraisal *ret, const struct verify_report *report)
{
    refuse(ret, FORBIDDEN, "refused");
    if (ret->answer != NULL && !verify_add_checks(ret->answer, report))
        json_free(&ret->answer);
}

/* This comes from the instance itself, just now, whether it matches or not. */
static bool is_genuine(const struct verify_report *report)
{
    static const enum verify_check_id needed[] = {CHECK_IDENTITY, CHECK_ROOT, CHECK_CHAIN,
                                                  CHECK_SIGNATURE, CHECK_NONCE};

    for (size_t i = 0; i < MU_COUNT(needed); i++)
        if (report->check[needed[i]].result != VERIFY_OK)
            return false;
    return true;
}

/* An instance of an account that is not served gets that answer; it is neither stored nor
 * announced. */
static enum mu_status check_account(const struct settings *settings,
                                    const struct verify_report *report, struct mu_error *err)
{
    const char *account =
        report->check[CHECK_IDENTITY_INSTANCE].result == VERIFY_OK ? report->identity.account : "";

    if (settings_serve(settings, account))
        return MU_OK;
    return mu_fail(err, MU_REFUSE, "account %s is not one that this verifier serves",
                   account[0] != '\0' ? account : "(not known)");
}

/* If the store cannot be read, a file that matches still does. */
static enum mu_status match_any(const struct verifier *verifier, const struct pcr_values *found,
                                uint64_t now_ms, struct appraisal *ret)
{
    struct mu_error unknown = {0};
    enum mu_status status;

    if (verifier->approved != NULL &&
        approved_get(verifier->approved, verifier->store, &ret->images, &unknown) != MU_OK)
        ret->images = NULL;
    status = reference_values_match(&verifier->reference, approved_list(ret->images), found, now_ms,
                                    &ret->reference, &ret->why);
    if (status == MU_OK || unknown.status == MU_OK)
        return status;
    ret->reference = NULL;
    ret->why = unknown;
    return unknown.status;
}

/* Fills in the check that verify_document leaves to a caller with several baselines. */
static enum mu_status match(const struct verifier *verifier, const struct finding *finding,
                            struct verify_report *report, struct appraisal *ret)
{
    struct verify_check *check = &report->check[CHECK_BASELINE];
    struct pcr_values found;
    enum mu_status status;

    verify_pcrs(finding->document, &found);
    status = match_any(verifier, &found, finding->at_ms, ret);
    ret->matches = status == MU_OK;
    check->result = ret->matches ? VERIFY_OK : VERIFY_FAILED;
    if (ret->matches)
        (void)snprintf(check->detail, sizeof(check->detail), "equal: %s", ret->reference->name);
    else
        (void)snprintf(check->detail, sizeof(check->detail), "%.*s", (int)sizeof(check->detail) - 1,
                       ret->why.text);
    return status;
}

static bool add_facts(const struct appraisal *appraisal, const struct verify_report *report,
                      json_object *answer)
{
    const struct reference_value *reference = appraisal->reference;

    return json_add(answer, "ok", json_object_new_boolean(true)) &&
           json_add_text(answer, "instance_id", report->instance_id) &&
           json_add_text(answer, "baseline", reference->name) &&
           json_add_text(answer, "baseline_version", reference->version) &&
           json_add_text(answer, "state", reference_state_name(reference->state)) &&
           reference_add_images(answer, reference);
}

static bool limit_allows(const struct asked *asked, const struct verifier *verifier,
                         const struct verify_report *report)
{
    unsigned each_minute = asked->audience->settings->tokens_per_minute;
    struct source source = source_of_account(
        report->identity.account, (uint32_t)(asked->audience - verifier->audiences.item));

    return each_minute == 0 || limiter_take(asked->tokens, &source, each_minute / MINUTE_S,
                                            each_minute, clock_now_us());
}

/* Without a public key to encrypt to there is no token in the answer: anybody could use it. */
static void accept_instance(const struct verifier *verifier, const struct asked *asked,
                            const struct finding *finding, struct appraisal *ret)
{
    MU_CLEANUP(string_free) char *token = NULL;
    const struct audience_settings *audience = asked->audience->settings;
    bool wanted = finding->document->public_key.data != NULL;

    if (wanted && !limit_allows(asked, verifier, finding->report)) {
        appraise_refuse(ret, TOO_MANY_REQUESTS, "rate",
                        "more than %u tokens a minute for the audience '%.80s'",
                        audience->tokens_per_minute, audience_value(asked->audience));
        return;
    }
    if (wanted &&
        failed(ret,
               issue_token(verifier, asked->audience, finding, ret->token_id, &token, &ret->why),
               BAD_REQUEST, "key"))
        return;
    ret->audience = wanted ? audience_value(asked->audience) : NULL;
    if (!answer_ok(ret) || !add_facts(ret, finding->report, ret->answer) ||
        (wanted && (!json_add(ret->answer, "expires_in",
                              json_object_new_int((int)audience->token_lifetime)) ||
                    !json_add_text(ret->answer, "token", token))))
        out_of_memory(ret);
}

/* The nonce has been found to be ours; the policy repeats it so that the report says so. */
static void appraise_document(const struct verifier *verifier, const struct asked *asked,
                              const struct document *document,
                              const struct identity_evidence *identity, uint64_t now_ms,
                              struct appraisal *ret)
{
    const struct verify_policy policy = {
        .root = buffer_view(&verifier->root),
        .at_ms = now_ms,
        .max_age_s = verifier->settings.max_age,
        .nonce = document->nonce,
        .identity = identity,
        .cache = verifier->chains,
    };
    struct verify_report report;
    enum mu_status status = verify_document(document, &policy, &report, &ret->why);
    struct finding finding = {document, &report, NULL, now_ms};

    if (status != MU_OK && status != MU_REFUSE) {
        appraise_fail(ret, status, FORBIDDEN, "refused");
        return;
    }
    ret->genuine = is_genuine(&report);
    if (ret->genuine)
        memcpy(ret->instance_id, report.instance_id, sizeof(ret->instance_id));
    if (status == MU_OK)
        status = check_account(&verifier->settings, &report, &ret->why);
    if (status == MU_OK)
        status = match(verifier, &finding, &report, ret);
    if (status == MU_OK) {
        finding.reference = ret->reference;
        accept_instance(verifier, asked, &finding, ret);
    } else if (status == MU_REFUSE) {
        refuse_with_checks(ret, &report);
    } else {
        appraise_fail(ret, status, FORBIDDEN, "refused");
    }
}

static void refuse_unreadable(struct bytes raw, uint64_t now_ms, struct appraisal *ret)
{
    const struct verify_policy policy = {.at_ms = now_ms};
    MU_CLEANUP(document_free) struct document none = {0};
    struct verify_report report = {0};
    enum mu_status status = verify_bytes(raw, &policy, &none, &report, &ret->why);

    if (status == MU_REFUSE)
        refuse_with_checks(ret, &report);
    else
        appraise_fail(ret, status == MU_OK ? MU_INTERNAL : status, FORBIDDEN, "refused");
}

void appraise_attest(const struct verifier *verifier, struct limiter *tokens, struct bytes body,
                     uint64_t now_ms, struct appraisal *ret)
{
    MU_CLEANUP(asked_free) struct asked asked = {.tokens = tokens};
    MU_CLEANUP(document_free) struct document document = {0};
    struct identity_evidence identity = {0};
    bool identified;

    *ret = (struct appraisal){0};
    if (failed(ret, read_request(verifier, body, &asked, &ret->why), BAD_REQUEST, "malformed"))
        return;
    if (document_parse(buffer_view(&asked.document), &document, &ret->why) != MU_OK) {
        refuse_unreadable(buffer_view(&asked.document), now_ms, ret);
        return;
    }
    if (failed(ret, challenge_check(&verifier->challenge, now_ms, document.nonce, &ret->why),
               BAD_REQUEST, "nonce"))
        return;
    identified = asked.identity.document.data != NULL;
    if (identified && failed(ret,
                             identity_load(&asked.identity, verifier->settings.region_certificates,
                                           &identity, &ret->why),
                             FORBIDDEN, "refused"))
        return;
    appraise_document(verifier, &asked, &document, identified ? &identity : NULL, now_ms, ret);
}
