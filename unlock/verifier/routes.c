/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/routes.h"

#include <string.h>

#include "base/time.h"
#include "fleet/journal.h"
#include "fleet/prometheus.h"
#include "verifier/publish.h"

static void answer_challenge(const struct server *server, struct bytes body, struct appraisal *ret)
{
    appraise_challenge(server->verifier, body, time_now_ms(), ret);
}

static void answer_attest(const struct server *server, struct bytes body, struct appraisal *ret)
{
    appraise_attest(server->verifier, &server->shared->tokens, body, time_now_ms(), ret);
}

static void answer_string(struct appraisal *ret, const char *text)
{
    ret->status = 200;
    ret->answer = json_object_new_string(text);
}

static void answer_jwks(const struct server *server, struct bytes body, struct appraisal *ret)
{
    (void)body;
    answer_string(ret, server->verifier->jwks);
}

static void answer_discovery(const struct server *server, struct bytes body, struct appraisal *ret)
{
    (void)body;
    if (server->verifier->discovery != NULL)
        answer_string(ret, server->verifier->discovery);
    else
        appraise_refuse(ret, 404, "unknown", "the issuer of this verifier is not an https URL");
}

static void answer_health(const struct server *server, struct bytes body, struct appraisal *ret)
{
    (void)body;
    if (server_health(server, &ret->why) == MU_OK)
        answer_string(ret, "{\"status\":\"ok\"}");
    else
        appraise_refuse(ret, 503, "unhealthy", "see the verifier's log");
}

static void answer_metrics(const struct server *server, struct bytes body, struct appraisal *ret)
{
    MU_CLEANUP(string_free) char *text = NULL;
    struct mu_error unhealthy = {0};
    const struct metrics_state state = {
        .certificate_until = server->verifier->certificate_until,
        .healthy = server_health(server, &unhealthy) == MU_OK,
        .connections = server_connections(server),
    };

    (void)body;
    if (metrics_text(&server->shared->metrics, &state, &text, &ret->why) == MU_OK)
        answer_string(ret, text);
    else
        appraise_refuse(ret, 500, "internal", "out of memory");
}

static void answer_nothing(const struct server *server, struct bytes body, struct appraisal *ret)
{
    (void)server;
    (void)body;
    appraise_refuse(ret, 404, "unknown", "there is nothing at this path");
}

static const char json_content[] = "application/json";

static const struct route routes[] = {
    {"/v1/challenge", "POST", answer_challenge, json_content, false},
    {"/v1/attest", "POST", answer_attest, json_content, true},
    {PUBLISH_KEYS_PATH, "GET", answer_jwks, json_content, false},
    {"/.well-known/openid-configuration", "GET", answer_discovery, json_content, false},
    {"/healthz", "GET", answer_health, json_content, false},
    {"/metrics", "GET", answer_metrics, PROMETHEUS_CONTENT, false},
    {NULL, NULL, answer_nothing, json_content, false},
};

const struct route *route_find(const char *path)
{
    const struct route *route = routes;

    while (route->path != NULL && strcmp(route->path, path) != 0)
        route++;
    return route;
}

const char *route_text(const struct appraisal *appraisal)
{
    if (json_object_is_type(appraisal->answer, json_type_string))
        return json_object_get_string(appraisal->answer);
    return appraisal->answer == NULL ? NULL : json_text(appraisal->answer);
}

/* Records what watch looks at. A document that is valid except for its age or identity says nothing
 * about the instance's state. */
static void record(const struct server *server, const struct appraisal *appraisal,
                   const char *address)
{
    const struct reference_value *reference = appraisal->reference;
    const struct attestation attestation = {
        .instance_id = appraisal->instance_id,
        .at_ms = time_now_ms(),
        .ok = appraisal->matches,
        .baseline = reference->name,
        .baseline_version = reference->version,
        .state = reference_state_name(reference->state),
        .detail = appraisal->matches ? NULL : appraisal->why.text,
        .address = address,
        .image = appraisal->matches ? reference->image : NULL,
        .boot_loader = appraisal->matches ? reference->boot_loader : NULL,
    };
    struct mu_error err = {0};

    if (store_record(server->shared->store, &attestation, &err) != MU_OK)
        journal_note("store", err.text);
}

static void write_line(const struct route *route, const struct appraisal *appraisal,
                       const char *address, uint64_t took_us)
{
    const struct reference_value *reference = appraisal->reference;
    json_object *line = journal_begin("request");

    journal_text(line, "path", route->path);
    journal_number(line, "status", appraisal->status);
    journal_number(line, "ms", (double)took_us / 1000);
    journal_text(line, "address", address);
    journal_text(line, "instance_id", appraisal->instance_id);
    if (reference != NULL && appraisal->matches) {
        journal_text(line, "baseline", reference->name);
        journal_text(line, "baseline_version", reference->version);
        journal_text(line, "state", reference_state_name(reference->state));
        journal_text(line, "image", reference->image);
        journal_text(line, "boot_loader", reference->boot_loader);
    }
    if (appraisal->audience != NULL) {
        journal_text(line, "audience", appraisal->audience);
        journal_text(line, "token_id", appraisal->token_id);
    }
    journal_text(line, "error", appraisal->error);
    if (appraisal->error != NULL)
        journal_text(line, "detail", appraisal->why.text);
    journal_end(line);
}

void route_note(const struct server *server, const struct route *route,
                const struct appraisal *appraisal, const char *address, uint64_t took_us)
{
    struct metrics *metrics = &server->shared->metrics;
    const char *path = route->path != NULL ? route->path : "other";

    metrics_count_request(metrics, path, appraisal->status);
    if (route->attests)
        metrics_count_attestation(metrics, appraisal->error != NULL ? appraisal->error : "ok",
                                  appraisal->matches ? appraisal->reference->name : "",
                                  appraisal->matches ? appraisal->reference->version : "", took_us);
    if (appraisal->genuine && appraisal->reference != NULL && server->shared->store != NULL)
        record(server, appraisal, address);
    if (appraisal->status != 200 || strcmp(path, "/healthz") != 0)
        write_line(route, appraisal, address, took_us);
}
