/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tpm/seal.h"

#include <string.h>

#include <openssl/crypto.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_sys.h>

#include "tpm/internal.h"

/* This key is not kept in the TPM, and does not collide with systemd's or another program's storage
 * key. */
static const TPM2B_PUBLIC storage_key = {
    .publicArea = {
        .type = TPM2_ALG_ECC,
        .nameAlg = TPM2_ALG_SHA256,
        .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                            TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                            TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
        .parameters.eccDetail = {.symmetric = {.algorithm = TPM2_ALG_AES,
                                               .keyBits.aes = 128,
                                               .mode.aes = TPM2_ALG_CFB},
                                 .scheme.scheme = TPM2_ALG_NULL,
                                 .curveID = TPM2_ECC_NIST_P256,
                                 .kdf.scheme = TPM2_ALG_NULL},
    }};

/* What is in the TPM while one secret goes in or out. */
struct visit {
    struct tpm *tpm;
    ESYS_TR parent, session, object, authority;
};

static void visit_end(struct visit *visit)
{
    ESYS_TR *const handles[] = {&visit->session, &visit->object, &visit->authority, &visit->parent};

    for (size_t i = 0; i < MU_COUNT(handles); i++) {
        TSS2_RC rc;

        if (*handles[i] == ESYS_TR_NONE || visit->tpm->esys == NULL)
            continue;
        rc = TPM_CALL(visit->tpm, Esys_FlushContext(visit->tpm->esys, *handles[i]));
        /* The transport failed, now or before: on a new connection nothing of this is known. */
        if (rc != TSS2_RC_SUCCESS && tpm_rc_base(rc) == 0)
            return;
    }
}

/* TPM2_FlushContext (Part 3, 28.4) of what ESYS knows nothing of. */
static void flush(struct tpm *tpm, uint32_t handle)
{
    struct tpm_response response;
    struct mu_error ignored;
    uint8_t command[14];
    struct writer w = writer_into(command, sizeof(command));

    writer_be16(&w, TPM2_ST_NO_SESSIONS);
    writer_be32(&w, sizeof(command));
    writer_be32(&w, TPM2_CC_FlushContext);
    writer_be32(&w, handle);
    if (tpm_transceive(tpm, (struct bytes){command, w.len}, "flush", &response, &ignored) != MU_OK)
        tpm->lost = true;
}

/* The resource manager flushes what a lost connection had loaded. Without it nothing does, and two
 * of three places for objects stay taken. */
static void flush_lost(struct tpm *tpm)
{
    static const uint32_t first[] = {TPM2_TRANSIENT_FIRST, TPM2_LOADED_SESSION_FIRST};
    struct mu_error ignored;

    if (!tpm->lost || tpm->managed_path != NULL)
        return;
    tpm->lost = false;
    for (size_t i = 0; i < MU_COUNT(first); i++) {
        const struct tpm_capability wanted = {TPM2_CAP_HANDLES, first[i], 16, "list handles"};
        MU_CLEANUP(esys_free) TPMS_CAPABILITY_DATA *data = NULL;

        if (tpm_get_capability(tpm, &wanted, NULL, &data, &ignored) != MU_OK)
            return;
        for (uint32_t n = 0; n < data->data.handles.count; n++)
            flush(tpm, data->data.handles.handle[n]);
    }
}

static struct visit visit_begin(struct tpm *tpm)
{
    flush_lost(tpm);
    return (struct visit){tpm, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE};
}

/* A code that has no meaning of its own: the TPM was handed something that it did not make. */
static enum mu_status seal_fail(struct mu_error *err, TSS2_RC rc, const char *what)
{
    if (tpm_fail(err, rc, what) == MU_INTERNAL && tpm_rc_base(rc) != 0)
        err->status = MU_REFUSE;
    return err->status;
}

/* TPM_CALL(); a failure is one of `what`. */
#define TPM_TRY(tpm, err, what, call)                                                              \
    do {                                                                                           \
        TSS2_RC rc_ = TPM_CALL(tpm, call);                                                         \
                                                                                                   \
        if (rc_ != TSS2_RC_SUCCESS)                                                                \
            return seal_fail((err), rc_, (what));                                                  \
    } while (0)

static enum mu_status check_parent(struct visit *visit, struct buffer *name, bool sealing,
                                   struct mu_error *err)
{
    MU_CLEANUP(esys_free) TPM2B_NAME *found = NULL;

    if (Esys_TR_GetName(visit->tpm->esys, visit->parent, &found) != TSS2_RC_SUCCESS)
        return mu_fail(err, MU_INTERNAL, "TPM: the storage key has no name");
    if (sealing)
        return buffer_copy(name, (struct bytes){found->name, found->size}, err);
    if (name->data == NULL ||
        bytes_equal(buffer_view(name), (struct bytes){found->name, found->size}))
        return MU_OK;
    return mu_fail(
        err, MU_REFUSE,
        "TPM: its storage key is not the one that this was sealed under: it is another "
        "TPM, or was cleared since (by the firmware's setup or tpm2_clear), and what was "
        "sealed is lost; unlock with the recovery passphrase and enroll again");
}

/* The storage key, which is the same as long as the TPM is not cleared, and a session that is
 * salted with it: what the session encrypts, only that TPM can read. */
static enum mu_status enter(struct visit *visit, TPM2_SE type, TPMA_SESSION attributes,
                            struct buffer *parent_name, struct mu_error *err)
{
    static const TPM2B_SENSITIVE_CREATE no_auth;
    static const TPM2B_DATA no_data;
    static const TPML_PCR_SELECTION no_pcrs;
    static const TPMT_SYM_DEF aes = {
        .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};
    struct tpm *tpm = visit->tpm;
    enum mu_status status;
    TSS2_RC rc = TPM_CALL(tpm, Esys_CreatePrimary(tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                                  ESYS_TR_NONE, ESYS_TR_NONE, &no_auth,
                                                  &storage_key, &no_data, &no_pcrs, &visit->parent,
                                                  NULL, NULL, NULL, NULL));

    if (tpm_rc_base(rc) == TPM2_RC_BAD_AUTH)
        return mu_fail(err, MU_CONFIG,
                       "TPM: the owner hierarchy has a password: remove it (tpm2_changeauth -c "
                       "owner)");
    if (rc != TSS2_RC_SUCCESS)
        return seal_fail(err, rc, "derive the storage key");
    status = check_parent(visit, parent_name, type == TPM2_SE_HMAC, err);
    MU_TRY(status);
    TPM_TRY(tpm, err, "start a session",
            Esys_StartAuthSession(tpm->esys, visit->parent, ESYS_TR_NONE, ESYS_TR_NONE,
                                  ESYS_TR_NONE, ESYS_TR_NONE, NULL, type, &aes, TPM2_ALG_SHA256,
                                  &visit->session));
    if (Esys_TRSess_SetAttributes(tpm->esys, visit->session,
                                  attributes | TPMA_SESSION_CONTINUESESSION,
                                  0xff) != TSS2_RC_SUCCESS)
        return mu_fail(err, MU_INTERNAL, "TPM: session attributes");
    return MU_OK;
}

/* ---- sealing ---- */

static enum mu_status keep(const TPM2B_PUBLIC *public_area, const TPM2B_PRIVATE *private_area,
                           struct sealed *to, struct mu_error *err)
{
    uint8_t bytes[SEAL_PART_MAX];
    size_t len = 0;

    MU_TRY(tpm_check(err, Tss2_MU_TPM2B_PUBLIC_Marshal(public_area, bytes, sizeof(bytes), &len),
                     "seal"));
    MU_TRY(buffer_copy(&to->public_area, (struct bytes){bytes, len}, err));
    len = 0;
    MU_TRY(tpm_check(err, Tss2_MU_TPM2B_PRIVATE_Marshal(private_area, bytes, sizeof(bytes), &len),
                     "seal"));
    return buffer_copy(&to->private_area, (struct bytes){bytes, len}, err);
}

static enum mu_status create(struct visit *visit, struct bytes secret, const struct digest *policy,
                             struct sealed *ret, struct mu_error *err)
{
    static const TPM2B_DATA no_data;
    static const TPML_PCR_SELECTION no_pcrs;
    MU_CLEANUP(esys_free) TPM2B_PRIVATE *private_area = NULL;
    MU_CLEANUP(esys_free) TPM2B_PUBLIC *public_area = NULL;
    TPM2B_PUBLIC template = {
        .publicArea = {.type = TPM2_ALG_KEYEDHASH,
                       .nameAlg = TPM2_ALG_SHA256,
                       .objectAttributes =
                           TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_NODA,
                       .authPolicy.size = 32,
                       .parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL}};
    TPM2B_SENSITIVE_CREATE sensitive = {.sensitive.data.size = (UINT16)secret.len};
    TSS2_RC rc;

    memcpy(template.publicArea.authPolicy.buffer, policy->bytes, 32);
    memcpy(sensitive.sensitive.data.buffer, secret.data, secret.len);
    rc = TPM_CALL(visit->tpm,
                  Esys_Create(visit->tpm->esys, visit->parent, visit->session, ESYS_TR_NONE,
                              ESYS_TR_NONE, &sensitive, &template, &no_data, &no_pcrs,
                              &private_area, &public_area, NULL, NULL, NULL));
    OPENSSL_cleanse(&sensitive, sizeof(sensitive));
    if (rc != TSS2_RC_SUCCESS)
        return seal_fail(err, rc, "seal");
    return keep(public_area, private_area, ret, err);
}

enum mu_status tpm_seal(struct tpm *tpm, struct bytes secret, const struct seal_policy *policy,
                        struct sealed *ret, struct mu_error *err)
{
    MU_CLEANUP(sealed_free) struct sealed sealed = {0};
    MU_CLEANUP(visit_end) struct visit visit = visit_begin(tpm);
    struct digest digest;

    if (secret.len < 1 || secret.len > SEAL_MAX)
        return mu_fail(err, MU_CONFIG, "a TPM seals 1 to %d bytes, not %zu", SEAL_MAX, secret.len);
    MU_TRY(seal_policy_digest(policy, &digest, err));
    MU_TRY(enter(&visit, TPM2_SE_HMAC, TPMA_SESSION_DECRYPT, &sealed.parent, err));
    MU_TRY(create(&visit, secret, &digest, &sealed, err));
    *ret = MU_TAKE(sealed);
    return MU_OK;
}

/* ---- unsealing ---- */

static enum mu_status seal_load(struct visit *visit, const struct sealed *sealed,
                                struct mu_error *err)
{
    TPM2B_PRIVATE private_area = {0};
    TPM2B_PUBLIC public_area = {0};
    size_t private_len = 0, public_len = 0;

    if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(sealed->public_area.data, sealed->public_area.len,
                                       &public_len, &public_area) != TSS2_RC_SUCCESS ||
        Tss2_MU_TPM2B_PRIVATE_Unmarshal(sealed->private_area.data, sealed->private_area.len,
                                        &private_len, &private_area) != TSS2_RC_SUCCESS ||
        public_len != sealed->public_area.len || private_len != sealed->private_area.len)
        return mu_fail(err, MU_REFUSE, "not a sealed object (TPM2B_PUBLIC and TPM2B_PRIVATE)");
    TPM_TRY(visit->tpm, err, "load the sealed object",
            Esys_Load(visit->tpm->esys, visit->parent, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                      &private_area, &public_area, &visit->object));
    return MU_OK;
}

/* Which state the TPM seems to be in: for PolicyPCR to be given the right selection. Whether it is
 * in that state is up to the TPM. */
static enum mu_status choose_state(struct tpm *tpm, const struct seal_policy *policy, size_t *ret,
                                   struct mu_error *err)
{
    for (size_t i = 0; i < policy->states; i++) {
        struct pcr_values found;

        MU_TRY(tpm_pcr_read(tpm, policy->state[i].bank, policy->state[i].mask, &found, err));
        *ret = i;
        if (pcr_differing(&policy->state[i], &found) == 0)
            return MU_OK;
    }
    *ret = policy->states;
    return MU_OK;
}

static enum mu_status policy_pcr(struct visit *visit, const struct pcr_values *state,
                                 struct mu_error *err)
{
    /* Empty: what the PCRs hold now. */
    static const TPM2B_DIGEST now;
    TPML_PCR_SELECTION selection = {
        .count = 1, .pcrSelections[0] = {.hash = (TPMI_ALG_HASH)state->bank, .sizeofSelect = 3}};

    for (unsigned i = 0; i < 3; i++)
        selection.pcrSelections[0].pcrSelect[i] = (BYTE)(state->mask >> (8 * i));
    TPM_TRY(visit->tpm, err, "read the PCRs into the policy",
            Esys_PolicyPCR(visit->tpm->esys, visit->session, ESYS_TR_NONE, ESYS_TR_NONE,
                           ESYS_TR_NONE, &now, &selection));
    return MU_OK;
}

static enum mu_status fail_counter(TSS2_RC rc, const struct seal_counter *counter,
                                   struct mu_error *err)
{
    switch (tpm_rc_base(rc)) {
    case TPM2_RC_POLICY:
        return mu_fail(err, MU_REFUSE,
                       "TPM: its counter 0x%08x has gone past %llu: this record was taken out of "
                       "use ('muctl revoke')",
                       counter->index, (unsigned long long)counter->limit);
    case TPM2_RC_HANDLE:
    case TPM2_RC_NV_UNINITIALIZED:
        return mu_fail(err, MU_REFUSE,
                       "TPM: its counter 0x%08x is gone, and no record that names it opens any "
                       "more: unlock with the recovery passphrase and enroll again",
                       counter->index);
    default:
        return seal_fail(err, rc, "compare the counter");
    }
}

/* Part 3, 23.9: the TPM compares, and takes the index's Name into the policy. */
static enum mu_status policy_counter(struct visit *visit, const struct seal_counter *counter,
                                     struct mu_error *err)
{
    ESYS_CONTEXT *esys = visit->tpm->esys;
    ESYS_TR nv = ESYS_TR_NONE;
    TPM2B_OPERAND limit = {.size = 8};
    struct writer w = writer_into(limit.buffer, sizeof(limit.buffer));
    TSS2_RC rc;

    writer_be64(&w, counter->limit);
    rc = tpm_nv_find(visit->tpm, counter->index, &nv);
    if (rc == TSS2_RC_SUCCESS)
        rc = TPM_CALL(visit->tpm,
                      Esys_PolicyNV(esys, nv, nv, visit->session, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                    ESYS_TR_NONE, &limit, 0, TPM2_EO_UNSIGNED_LE));
    if (nv != ESYS_TR_NONE && visit->tpm->esys == esys)
        (void)Esys_TR_Close(esys, &nv);
    return rc == TSS2_RC_SUCCESS ? MU_OK : fail_counter(rc, counter, err);
}

static enum mu_status policy_or(struct visit *visit, const struct seal_policy *policy,
                                struct mu_error *err)
{
    TPML_DIGEST list = {.count = (UINT32)policy->states};

    for (size_t i = 0; i < policy->states; i++) {
        struct digest digest;

        MU_TRY(seal_state_digest(&policy->state[i], &policy->counter, &digest, err));
        list.digests[i].size = 32;
        memcpy(list.digests[i].buffer, digest.bytes, 32);
    }
    TPM_TRY(visit->tpm, err, "choose among the states",
            Esys_PolicyOR(visit->tpm->esys, visit->session, ESYS_TR_NONE, ESYS_TR_NONE,
                          ESYS_TR_NONE, &list));
    return MU_OK;
}

static enum mu_status parse_approval(const struct seal_policy *policy, size_t state,
                                     TPM2B_PUBLIC *ret_key, TPMT_SIGNATURE *ret_signature,
                                     struct mu_error *err)
{
    const struct buffer *signature = &policy->signature[state];
    size_t key_len = 0, signature_len = 0;

    if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(policy->authority.data, policy->authority.len, &key_len,
                                       ret_key) != TSS2_RC_SUCCESS ||
        Tss2_MU_TPMT_SIGNATURE_Unmarshal(signature->data, signature->len, &signature_len,
                                         ret_signature) != TSS2_RC_SUCCESS ||
        key_len != policy->authority.len || signature_len != signature->len)
        return mu_fail(err, MU_REFUSE, "not a signed policy (TPM2B_PUBLIC and TPMT_SIGNATURE)");
    return MU_OK;
}

/* Part 3, 23.16: the TPM checks the signature, and hands out a ticket that says so. */
static enum mu_status policy_authorize(struct visit *visit, const struct seal_policy *policy,
                                       size_t state, struct mu_error *err)
{
    MU_CLEANUP(esys_free) TPMT_TK_VERIFIED *ticket = NULL;
    MU_CLEANUP(esys_free) TPM2B_NAME *name = NULL;
    struct tpm *tpm = visit->tpm;
    TPM2B_PUBLIC key = {0};
    TPMT_SIGNATURE signature = {0};
    TPM2B_DIGEST approved = {.size = 32}, hash = {.size = 32};
    TPM2B_NONCE reference = {0};
    uint8_t approval[SEAL_APPROVAL_MAX];
    struct digest digest;
    size_t len;

    MU_TRY(parse_approval(policy, state, &key, &signature, err));
    MU_TRY(seal_approval(policy, state, approval, &len, err));
    memcpy(approved.buffer, approval, 32);
    reference.size = (UINT16)(len - 32);
    memcpy(reference.buffer, approval + 32, len - 32);
    MU_TRY(hash_bytes(HASH_SHA256, (struct bytes){approval, len}, &digest, err));
    memcpy(hash.buffer, digest.bytes, 32);
    TPM_TRY(tpm, err, "load the policy's authority (does this TPM know its curve?)",
            Esys_LoadExternal(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL, &key,
                              ESYS_TR_RH_OWNER, &visit->authority));
    if (Esys_TR_GetName(tpm->esys, visit->authority, &name) != TSS2_RC_SUCCESS)
        return mu_fail(err, MU_INTERNAL, "TPM: the authority has no name");
    TPM_TRY(tpm, err, "check the signed policy",
            Esys_VerifySignature(tpm->esys, visit->authority, ESYS_TR_NONE, ESYS_TR_NONE,
                                 ESYS_TR_NONE, &hash, &signature, &ticket));
    TPM_TRY(tpm, err, "take the signed policy",
            Esys_PolicyAuthorize(tpm->esys, visit->session, ESYS_TR_NONE, ESYS_TR_NONE,
                                 ESYS_TR_NONE, &approved, &reference, name, ticket));
    return MU_OK;
}

static enum mu_status satisfy(struct visit *visit, const struct seal_policy *policy,
                              struct mu_error *err)
{
    size_t state;

    MU_TRY(choose_state(visit->tpm, policy, &state, err));
    /* If the TPM is in none of the states, Unseal shall say so, not this program. */
    if (state == policy->states)
        return policy_pcr(visit, &policy->state[0], err);
    MU_TRY(policy_pcr(visit, &policy->state[state], err));
    if (policy->counter.index != 0)
        MU_TRY(policy_counter(visit, &policy->counter, err));
    if (policy->authority.data != NULL)
        return policy_authorize(visit, policy, state, err);
    return policy->states > 1 ? policy_or(visit, policy, err) : MU_OK;
}

static enum mu_status take_secret(const TPM2B_SENSITIVE_DATA *data, struct secret *ret,
                                  struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret secret = {0};

    if (data->size < 1 || data->size > SEAL_MAX)
        return mu_fail(err, MU_REFUSE, "TPM: unsealed %u bytes", data->size);
    MU_TRY(secret_alloc(&secret, data->size, err));
    memcpy(secret.data, data->buffer, data->size);
    *ret = MU_TAKE(secret);
    return MU_OK;
}

/* tpm2-tss deciphers an answer inside its own buffer. */
static void wipe_answer(ESYS_CONTEXT *esys)
{
    TSS2_SYS_CONTEXT *sys = NULL;
    const uint8_t *answer;
    size_t size;

    if (Esys_GetSysContext(esys, &sys) == TSS2_RC_SUCCESS &&
        Tss2_Sys_GetRpBuffer(sys, &size, &answer) == TSS2_RC_SUCCESS)
        OPENSSL_cleanse((void *)answer, size);
}

static enum mu_status unseal(struct visit *visit, struct secret *ret, struct mu_error *err)
{
    TPM2B_SENSITIVE_DATA *data = NULL;
    enum mu_status status;

    TPM_TRY(visit->tpm, err, "unseal",
            Esys_Unseal(visit->tpm->esys, visit->object, visit->session, ESYS_TR_NONE, ESYS_TR_NONE,
                        &data));
    wipe_answer(visit->tpm->esys);
    status = take_secret(data, ret, err);
    OPENSSL_cleanse(data, sizeof(*data));
    Esys_Free(data);
    return status;
}

enum mu_status tpm_unseal(struct tpm *tpm, const struct sealed *sealed,
                          const struct seal_policy *policy, struct secret *ret,
                          struct mu_error *err)
{
    MU_CLEANUP(visit_end) struct visit visit = visit_begin(tpm);
    struct buffer parent = sealed->parent;

    if (policy->states < 1 || policy->states > SEAL_STATES_MAX)
        return mu_fail(err, MU_CONFIG, "a policy has 1 to %d states, not %zu", SEAL_STATES_MAX,
                       policy->states);
    MU_TRY(enter(&visit, TPM2_SE_POLICY, TPMA_SESSION_ENCRYPT, &parent, err));
    MU_TRY(seal_load(&visit, sealed, err));
    MU_TRY(satisfy(&visit, policy, err));
    return unseal(&visit, ret, err);
}
