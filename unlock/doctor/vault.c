/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/vault.h"
#include "ctl/vault_role.h"
#include "doctor/doctor.h"
#include "release/verifier_client.h"

#define PATIENCE_S 10

/* Any answer will do; `what` is the server's name in the report. */
static void ask(struct doctor *doctor, const char *what, const char *address, const char *ca_file,
                const char *path)
{
    static const char fix[] =
        "security groups, routes and DNS must let HTTPS through; ca_file and "
        "verifier_ca_file in [vault] must hold the authorities of the certificates";
    MU_CLEANUP(service_close) struct service *service = NULL;
    struct http_request request = {.method = "GET"};
    struct http_response response = {0};
    struct mu_error err = {0};
    enum mu_status status;

    status = service_open(what, address, ca_file, deadline_in(PATIENCE_S), &service, &err);
    if (status == MU_OK)
        status = service_call(service, &request, path, &response, &err);
    if (status != MU_OK)
        doctor_fail(doctor, status, what, fix, "%s", err.text);
    else if (response.status == 200)
        doctor_ok(doctor, what, "%s answers, its certificate is valid", address);
    else if (response.status >= 500)
        doctor_fail(doctor, MU_RETRY, what, "unseal it, or wait until it is unsealed",
                    "%s answers HTTP %ld to %s: it is not ready", address, response.status, path);
    else
        doctor_warn(doctor, what, "look whether this is the right address",
                    "%s answers HTTP %ld to %s", address, response.status, path);
}

/* Without the identity document no token names an account, and no role can bind one. */
static void ask_for_identity(struct doctor *doctor, const char *address, const char *ca_file)
{
    MU_CLEANUP(service_close) struct service *verifier = NULL;
    MU_CLEANUP(buffer_free) struct buffer nonce = {0};
    struct mu_error err = {0};
    bool wanted = false;
    int64_t seconds;

    if (service_open("verifier", address, ca_file, deadline_in(PATIENCE_S), &verifier, &err) !=
            MU_OK ||
        verifier_challenge(verifier, &nonce, &seconds, &wanted, &err) != MU_OK)
        doctor_warn(doctor, "accounts", "make it answer first", "not done: %s", err.text);
    else if (wanted)
        doctor_ok(doctor, "accounts", "%s asks for identity documents", address);
    else
        doctor_warn(doctor, "accounts",
                    "identity = required in its verifier.conf, then \"account\" in the role's "
                    "bound_claims (docs/guide/vault.md)",
                    "%s does not ask for an instance's account: anybody who boots "
                    "this image, in any AWS account, gets the key",
                    address);
}

static void look_at_role(struct doctor *doctor, const struct vault_record *record,
                         const char *ca_file)
{
    MU_CLEANUP(service_close) struct service *vault = NULL;
    struct bytes token = {0};
    struct mu_error why = {0};
    enum vault_role_account account = VAULT_ROLE_UNKNOWN;

    if (vault_token_from_environment(&token, &why) == MU_OK &&
        service_open("vault", record->address, ca_file, deadline_in(PATIENCE_S), &vault, &why) ==
            MU_OK)
        account =
            vault_role_account(vault, record->scope, token, record->auth_mount, record->role, &why);
    if (account == VAULT_ROLE_BOUND)
        doctor_ok(doctor, "vault-role", "the role '%s' admits named accounts alone", record->role);
    else if (account == VAULT_ROLE_OPEN)
        doctor_fail(doctor, MU_REFUSE, "vault-role", VAULT_ROLE_FIX, "%s", why.text);
    else
        doctor_warn(
            doctor, "vault-role",
            "set a VAULT_TOKEN that may read the role, to have it checked; by hand: look for "
            "\"account\" in what 'vault read auth/MOUNT/role/ROLE' shows",
            "not done: whether the role '%s' binds an account: %s", record->role, why.text);
}

void doctor_ask_vault(struct doctor *doctor, const struct record *record)
{
    char vault_ca[DOCTOR_PATH_MAX], verifier_ca[DOCTOR_PATH_MAX];
    struct vault_record vault;
    struct mu_error err = {0};

    doctor_path(doctor, doctor->config.vault.ca_file, vault_ca);
    doctor_path(doctor, doctor->config.vault.verifier_ca_file, verifier_ca);
    if (vault_parse_record(record->provider_data, &vault, &err) != MU_OK) {
        doctor_fail(doctor, err.status, "vault", "muctl enroll writes a valid record", "%s",
                    err.text);
        return;
    }
    ask(doctor, "verifier", vault.verifier, verifier_ca, "/healthz");
    ask(doctor, "vault", vault.address, vault_ca, "/v1/sys/health?standbyok=true");
    ask_for_identity(doctor, vault.verifier, verifier_ca);
    look_at_role(doctor, &vault, vault_ca);
}
