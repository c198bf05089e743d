/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/issue.h"

#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "appraise/jws.h"
#include "base/openssl.h"
#include "measure/baseline.h"

/* RFC 9711, 4.3.2: the claims of docs/develop/formats.md, "Token". */
#define EAT_PROFILE "urn:uuid:14131431-bd5a-446f-9350-c0329da61b6c"
/* RFC 9711, 4.2.1: a number made of identifiers by a hash. */
#define UEID_RAND 0x01
#define UEID_CONTEXT "measured-unlock ueid 1"
/* draft-ietf-rats-ear-04, 3.1 */
#define EAR_PROFILE "tag:ietf.org,2026:rats/ear#04"
#define EAR_SUBMODULE "nitrotpm"
/* draft-ietf-rats-ar4si, 2.3.4: what this verifier knows of executables is what booted. */
#define AR4SI_RECOGNIZED_INSTANCE 2
#define AR4SI_APPROVED_BOOT 3
#define AR4SI_GENUINE_HARDWARE 2

static bool add_time(json_object *object, const char *name, uint64_t ms)
{
    return json_add(object, name, json_object_new_int64((int64_t)(ms / 1000)));
}

static bool add_number(json_object *object, const char *name, int number)
{
    return json_add(object, name, json_object_new_int(number));
}

/* NULL if out of memory, or if there is nothing to add it to. */
static json_object *add_object(json_object *to, const char *name)
{
    json_object *object = json_object_new_object();

    return json_add(to, name, object) ? object : NULL;
}

static enum mu_status add_bytes(json_object *object, const char *name, struct bytes value,
                                struct mu_error *err)
{
    MU_CLEANUP(string_free) char *text = NULL;

    MU_TRY(base64url_encode(value, &text, err));
    return json_add_text(object, name, text) ? MU_OK : mu_oom(err);
}

/* The instance's identity, if it was asked for and is valid. */
static bool add_identity(json_object *claims, const struct verify_report *report)
{
    const struct identity_facts *facts = &report->identity;

    return report->check[CHECK_IDENTITY_INSTANCE].result != VERIFY_OK ||
           (json_add_text(claims, "account", facts->account) &&
            json_add_text(claims, "region", facts->region) &&
            json_add_text(claims, "instance_type", facts->instance_type) &&
            json_add_text(claims, "image_id", facts->image_id));
}

static enum mu_status make_id(char ret[static ISSUE_ID_SIZE], struct mu_error *err)
{
    uint8_t random[(ISSUE_ID_SIZE - 1) / 2];

    if (RAND_bytes(random, sizeof(random)) != 1)
        return mu_fail(err, MU_INTERNAL, "no random numbers");
    hex_encode((struct bytes){random, sizeof(random)}, ret);
    return MU_OK;
}

/* ---- claims ---- */

static enum mu_status add_registered(json_object *claims, const struct verifier *verifier,
                                     const struct audience *audience, const struct finding *finding,
                                     const char *id, struct mu_error *err)
{
    uint64_t until = finding->at_ms + 1000 * (uint64_t)audience->settings->token_lifetime;

    if (!json_add_text(claims, "jti", id) ||
        !json_add_text(claims, "iss", verifier->settings.issuer) ||
        !json_add_text(claims, "aud", audience_value(audience)) ||
        !json_add_text(claims, "sub", finding->report->instance_id) ||
        !add_time(claims, "iat", finding->at_ms) || !add_time(claims, "nbf", finding->at_ms) ||
        !add_time(claims, "exp", until))
        return mu_oom(err);
    return MU_OK;
}

static enum mu_status add_state(json_object *claims, const struct finding *finding,
                                struct mu_error *err)
{
    const struct reference_value *reference = finding->reference;
    struct pcr_values pcrs;

    verify_pcrs(finding->document, &pcrs);
    if (!json_add_text(claims, "baseline", reference->name) ||
        !json_add_text(claims, "baseline_version", reference->version) ||
        !json_add_text(claims, "state", reference_state_name(reference->state)) ||
        !reference_add_images(claims, reference) || !baseline_add_values(claims, "pcr", &pcrs) ||
        !add_identity(claims, finding->report))
        return mu_oom(err);
    return MU_OK;
}

/* EC2's instance ids are unique, but shorter than a UEID has to be. */
static enum mu_status add_ueid(json_object *claims, const char *instance, struct mu_error *err)
{
    char text[sizeof(UEID_CONTEXT) + sizeof(((struct verify_report *)NULL)->instance_id)];
    int len = snprintf(text, sizeof(text), "%s %s", UEID_CONTEXT, instance);
    uint8_t ueid[1 + EVP_MAX_MD_SIZE] = {UEID_RAND};
    unsigned size;

    if (EVP_Digest(text, (size_t)len, ueid + 1, &size, EVP_sha256(), NULL) != 1)
        return mu_oom(err);
    return add_bytes(claims, "ueid", (struct bytes){ueid, 1 + size}, err);
}

/* RFC 9711. "disabled" is not measured: documents of enclaves, which have a debug mode, are
 * refused, and EC2 offers none for instances; what an instance itself opens is in its command line,
 * which is measured. */
static enum mu_status add_eat(json_object *claims, const struct finding *finding,
                              const char *profile, struct mu_error *err)
{
    MU_TRY(add_bytes(claims, "eat_nonce", finding->document->nonce, err));
    MU_TRY(add_ueid(claims, finding->report->instance_id, err));
    return json_add_text(claims, "eat_profile", profile) &&
                   json_add_text(claims, "dbgstat", "disabled")
               ? MU_OK
               : mu_oom(err);
}

/* RFC 7800, 3.2: who has this key is who was appraised. */
static enum mu_status add_confirmation(json_object *claims, EVP_PKEY *key, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *jwk = NULL;

    MU_TRY(jws_public_key(key, &jwk, err));
    return json_add(add_object(claims, "cnf"), "jwk", MU_TAKE(jwk)) ? MU_OK : mu_oom(err);
}

static bool add_vector(json_object *submodule)
{
    json_object *vector = add_object(submodule, "ear_trustworthiness_vector");

    return add_number(vector, "instance-identity", AR4SI_RECOGNIZED_INSTANCE) &&
           add_number(vector, "executables", AR4SI_APPROVED_BOOT) &&
           add_number(vector, "hardware", AR4SI_GENUINE_HARDWARE);
}

static bool add_policy(json_object *submodule, const char *policy)
{
    json_object *policies = json_object_new_array();

    return json_add(submodule, "ear_appraisal_policy_ids", policies) &&
           json_append(policies, json_object_new_string(policy));
}

/* draft-ietf-rats-ear-04. An instance that does not match gets no token: the status is always
 * affirming. The policy is the baseline. */
static enum mu_status add_ear(json_object *claims, const struct verifier *verifier,
                              const struct reference_value *reference, struct mu_error *err)
{
    json_object *id = add_object(claims, "ear_verifier_id");
    json_object *submodule = add_object(add_object(claims, "submods"), EAR_SUBMODULE);
    MU_CLEANUP(string_free) char *policy = NULL;

    MU_TRY(
        string_print(&policy, err, "%s/baselines/%s", verifier->settings.issuer, reference->name));
    if (!json_add_text(id, "developer", verifier->settings.issuer) ||
        !json_add_text(id, "build", "mu-verifier " MU_VERSION) ||
        !json_add_text(submodule, "ear_status", "affirming") || !add_vector(submodule) ||
        !add_policy(submodule, policy))
        return mu_oom(err);
    return MU_OK;
}

/* ---- the token ---- */

static enum mu_status read_key(struct bytes der, EVP_PKEY **ret, struct mu_error *err)
{
    const uint8_t *pos = der.data;
    MU_CLEANUP(key_free) EVP_PKEY *key = d2i_PUBKEY(NULL, &pos, (long)der.len);

    if (key == NULL || pos != der.data + der.len)
        return mu_fail(err, MU_REFUSE,
                       "the document's public key is not a SubjectPublicKeyInfo in DER");
    *ret = MU_TAKE(key);
    return MU_OK;
}

enum mu_status issue_token(const struct verifier *verifier, const struct audience *audience,
                           const struct finding *finding, char ret_id[static ISSUE_ID_SIZE],
                           char **ret, struct mu_error *err)
{
    bool ear = audience->settings->profile == PROFILE_EAR;
    MU_CLEANUP(json_free) json_object *claims = json_object_new_object();
    MU_CLEANUP(key_free) EVP_PKEY *key = NULL;
    MU_CLEANUP(string_free) char *inner = NULL;

    MU_TRY(read_key(finding->document->public_key, &key, err));
    MU_TRY(make_id(ret_id, err));
    MU_TRY(add_registered(claims, verifier, audience, finding, ret_id, err));
    MU_TRY(add_state(claims, finding, err));
    MU_TRY(add_eat(claims, finding, ear ? EAR_PROFILE : EAT_PROFILE, err));
    MU_TRY(add_confirmation(claims, key, err));
    if (ear)
        MU_TRY(add_ear(claims, verifier, finding->reference, err));
    MU_TRY(token_sign(audience->signing_key, claims, &inner, err));
    if (audience->settings->encryption == ENCRYPTED_TO_DOCUMENT)
        return token_encrypt(inner, key, ret, err);
    *ret = MU_TAKE(inner);
    return MU_OK;
}
