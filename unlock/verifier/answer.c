/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/answer.h"

#include <string.h>
#include <time.h>

#include "verifier/journal.h"

static uint64_t now_ms(void)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void answer_challenge(const struct server *server, struct bytes body, struct judgement *ret)
{
    judge_challenge(server->material, body, now_ms(), ret);
}

static void answer_attest(const struct server *server, struct bytes body, struct judgement *ret)
{
    judge_attest(server->material, body, now_ms(), ret);
}

static void answer_string(struct judgement *ret, const char *text)
{
    ret->status = 200;
    ret->answer = json_object_new_string(text);
}

static void answer_jwks(const struct server *server, struct bytes body, struct judgement *ret)
{
    (void)body;
    answer_string(ret, server->material->jwks);
}

static void answer_health(const struct server *server, struct bytes body, struct judgement *ret)
{
    (void)body;
    if (server_health(server, &ret->why) == MU_OK)
        answer_string(ret, "{\"status\":\"ok\"}");
    else
        judge_refuse(ret, 503, "unhealthy", "see the verifier's log");
}

static void answer_metrics(const struct server *server, struct bytes body, struct judgement *ret)
{
    MU_CLEANUP(string_free) char *text = NULL;
    struct mu_error unhealthy = {0};
    const struct metrics_state state = {
        .certificate_until = server->material->certificate_until,
        .healthy = server_health(server, &unhealthy) == MU_OK,
        .connections = server_connections(server),
    };

    (void)body;
    if (metrics_text(&server->shared->metrics, &state, &text, &ret->why) == MU_OK)
        answer_string(ret, text);
    else
        judge_refuse(ret, 500, "internal", "out of memory");
}

static void answer_nothing(const struct server *server, struct bytes body, struct judgement *ret)
{
    (void)server;
    (void)body;
    judge_refuse(ret, 404, "unknown", "there is nothing at this path");
}

static const char json_content[] = "application/json";

static const struct endpoint endpoints[] = {
    {"/v1/challenge", "POST", answer_challenge, json_content, false},
    {"/v1/attest", "POST", answer_attest, json_content, true},
    {"/.well-known/jwks.json", "GET", answer_jwks, json_content, false},
    {"/healthz", "GET", answer_health, json_content, false},
    {"/metrics", "GET", answer_metrics, "text/plain; version=0.0.4", false},
    {NULL, NULL, answer_nothing, json_content, false},
};

const struct endpoint *answer_endpoint(const char *path)
{
    const struct endpoint *endpoint = endpoints;

    while (endpoint->path != NULL && strcmp(endpoint->path, path) != 0)
        endpoint++;
    return endpoint;
}

const char *answer_text(const struct judgement *judgement)
{
    if (json_object_is_type(judgement->answer, json_type_string))
        return json_object_get_string(judgement->answer);
    return judgement->answer == NULL
               ? NULL
               : json_object_to_json_string_ext(
                     judgement->answer, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

/* What watch looks at. A document that holds but for its age or identity is no word of how the
 * instance is. */
static void record(const struct server *server, const struct judgement *judgement,
                   const char *address)
{
    const struct golden *golden = judgement->golden;
    const struct attestation attestation = {
        .instance_id = judgement->instance_id,
        .at_ms = now_ms(),
        .ok = judgement->matches,
        .baseline = golden->name,
        .baseline_version = golden->version,
        .state = golden_state_name(golden->state),
        .detail = judgement->matches ? NULL : judgement->why.text,
        .address = address,
    };
    struct mu_error err = {0};

    if (store_record(server->shared->store, &attestation, &err) != MU_OK)
        journal_note("store", err.text);
}

static void write_line(const struct endpoint *endpoint, const struct judgement *judgement,
                       const char *address, uint64_t took_us)
{
    const struct golden *golden = judgement->golden;
    json_object *line = journal_begin("request");

    journal_text(line, "path", endpoint->path);
    journal_number(line, "status", judgement->status);
    journal_number(line, "ms", (double)took_us / 1000);
    journal_text(line, "address", address);
    journal_text(line, "instance_id", judgement->instance_id);
    if (golden != NULL && judgement->matches) {
        journal_text(line, "baseline", golden->name);
        journal_text(line, "baseline_version", golden->version);
        journal_text(line, "state", golden_state_name(golden->state));
        (void)json_add(line, "token", json_object_new_boolean(judgement->token));
    }
    journal_text(line, "error", judgement->error);
    if (judgement->error != NULL)
        journal_text(line, "detail", judgement->why.text);
    journal_end(line);
}

void answer_note(const struct server *server, const struct endpoint *endpoint,
                 const struct judgement *judgement, const char *address, uint64_t took_us)
{
    struct metrics *metrics = &server->shared->metrics;
    const char *path = endpoint->path != NULL ? endpoint->path : "other";

    metrics_count_request(metrics, path, judgement->status);
    if (endpoint->attests)
        metrics_count_attestation(metrics, judgement->error != NULL ? judgement->error : "ok",
                                  judgement->matches ? judgement->golden->name : "", took_us);
    if (judgement->genuine && judgement->golden != NULL && server->shared->store != NULL)
        record(server, judgement, address);
    if (judgement->status != 200 || strcmp(path, "/healthz") != 0)
        write_line(endpoint, judgement, address, took_us);
}
