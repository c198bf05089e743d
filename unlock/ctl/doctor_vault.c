/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/doctor.h"
#include "release/service.h"
#include "release/vault.h"

#define PATIENCE_S 10

/* Any answer is one; `what` is how the report calls it. */
static void ask(struct doctor *doctor, const char *volume, const char *what, const char *address,
                const char *ca_file, const char *path)
{
    static const char fix[] = "security groups, routes and DNS must let HTTPS through; ca_file and "
                              "verifier_ca_file in [vault] hold whom the certificates are from";
    MU_CLEANUP(service_close) struct service *service = NULL;
    struct http_request request = {.method = "GET"};
    struct http_response response = {0};
    struct mu_error err = {0};
    enum mu_status status;

    status = service_open(what, address, ca_file, deadline_in(PATIENCE_S), &service, &err);
    if (status == MU_OK)
        status = service_call(service, &request, path, &response, &err);
    if (status != MU_OK)
        doctor_fail(doctor, status, what, fix, "volume '%s': %s", volume, err.text);
    else if (response.status == 200)
        doctor_ok(doctor, what, "volume '%s': %s answers, its certificate holds", volume, address);
    else if (response.status >= 500)
        doctor_fail(doctor, MU_RETRY, what, "unseal it, or wait for whoever does",
                    "volume '%s': %s answers HTTP %ld to %s: it is not ready", volume, address,
                    response.status, path);
    else
        doctor_warn(doctor, what, "look whether this is the right address",
                    "volume '%s': %s answers HTTP %ld to %s", volume, address, response.status,
                    path);
}

void doctor_ask_vault(struct doctor *doctor, const char *volume, const struct record *record)
{
    char vault_ca[DOCTOR_PATH_MAX], verifier_ca[DOCTOR_PATH_MAX];
    struct vault_record vault;
    struct mu_error err = {0};

    doctor_path(doctor, doctor->config.vault_ca_file, vault_ca);
    doctor_path(doctor, doctor->config.verifier_ca_file, verifier_ca);
    if (vault_parse_record(record->provider_data, &vault, &err) != MU_OK) {
        doctor_fail(doctor, err.status, "vault", "muctl enroll writes a record that holds",
                    "volume '%s': %s", volume, err.text);
        return;
    }
    ask(doctor, volume, "verifier", vault.verifier, verifier_ca, "/healthz");
    ask(doctor, volume, "vault", vault.address, vault_ca, "/v1/sys/health?standbyok=true");
}
