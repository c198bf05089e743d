/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tpm/seal.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>

#include <tss2/tss2_mu.h>

#include "base/openssl.h"
#include "tpm/counter.h"
#include "tpm/internal.h"

#define POLICY_DIGEST_SIZE 32u
/* The longest thing that is hashed: PolicyOR of eight digests. */
#define HASHED_MAX (POLICY_DIGEST_SIZE * (SEAL_STATES_MAX + 1) + 64u)
#define POINT_MAX (1 + 2 * 48)

void seal_policy_free(struct seal_policy *policy)
{
    buffer_free(&policy->authority);
    for (size_t i = 0; i < SEAL_STATES_MAX; i++)
        buffer_free(&policy->signature[i]);
    *policy = (struct seal_policy){0};
}

void sealed_free(struct sealed *sealed)
{
    buffer_free(&sealed->public_area);
    buffer_free(&sealed->private_area);
    buffer_free(&sealed->parent);
}

/* ---- digests ---- */

/* Part 3, 23.2.3: what each policy command begins with: the digest so far, which is zeros in a new
 * session, and the command code. */
static struct writer begin_after(const uint8_t before[static POLICY_DIGEST_SIZE], uint8_t *to,
                                 size_t cap, uint32_t command)
{
    struct writer w = writer_into(to, cap);

    writer_bytes(&w, (struct bytes){before, POLICY_DIGEST_SIZE});
    writer_be32(&w, command);
    return w;
}

static struct writer begin(uint8_t *to, size_t cap, uint32_t command)
{
    static const uint8_t zeros[POLICY_DIGEST_SIZE];

    return begin_after(zeros, to, cap, command);
}

static enum mu_status finish(const struct writer *w, struct digest *ret, struct mu_error *err)
{
    if (w->failed)
        return mu_fail(err, MU_INTERNAL, "a policy that is too long");
    return hash_bytes(HASH_SHA256, (struct bytes){w->data, w->len}, ret, err);
}

static enum mu_status values_digest(const struct pcr_values *state, struct digest *ret,
                                    struct mu_error *err)
{
    uint8_t values[PCR_COUNT * HASH_MAX_SIZE];
    struct writer w = writer_into(values, sizeof(values));

    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        if ((state->mask & PCR_BIT(pcr)) != 0)
            writer_bytes(&w, (struct bytes){state->value[pcr].bytes, hash_size(state->bank)});
    return finish(&w, ret, err);
}

/* Part 3, 23.9: the arguments are hashed first. */
static enum mu_status add_counter(const struct seal_counter *counter, struct digest *digest,
                                  struct mu_error *err)
{
    uint8_t hashed[HASHED_MAX];
    uint8_t name[SEAL_NAME_SIZE];
    struct writer w = writer_into(hashed, sizeof(hashed));
    struct digest arguments;
    size_t len;

    writer_be64(&w, counter->limit);
    writer_be16(&w, 0); /* offset */
    writer_be16(&w, TPM2_EO_UNSIGNED_LE);
    MU_TRY(finish(&w, &arguments, err));
    MU_TRY(seal_policy_ref(counter, name, &len, err));
    w = begin_after(digest->bytes, hashed, sizeof(hashed), TPM2_CC_PolicyNV);
    writer_bytes(&w, (struct bytes){arguments.bytes, POLICY_DIGEST_SIZE});
    writer_bytes(&w, (struct bytes){name, len});
    return finish(&w, digest, err);
}

enum mu_status seal_policy_ref(const struct seal_counter *counter,
                               uint8_t ret[static SEAL_NAME_SIZE], size_t *ret_len,
                               struct mu_error *err)
{
    *ret_len = counter->index != 0 ? SEAL_NAME_SIZE : 0;
    return counter->index != 0 ? tpm_counter_name(counter->index, ret, err) : MU_OK;
}

enum mu_status seal_state_digest(const struct pcr_values *state, const struct seal_counter *counter,
                                 struct digest *ret, struct mu_error *err)
{
    uint8_t hashed[HASHED_MAX];
    struct writer w = begin(hashed, sizeof(hashed), TPM2_CC_PolicyPCR);
    struct digest values;

    MU_TRY(values_digest(state, &values, err));
    writer_be32(&w, 1); /* TPML_PCR_SELECTION */
    writer_be16(&w, (uint16_t)state->bank);
    writer_u8(&w, PCR_COUNT / 8);
    for (unsigned i = 0; i < PCR_COUNT / 8; i++)
        writer_u8(&w, (uint8_t)(state->mask >> (8 * i)));
    writer_bytes(&w, (struct bytes){values.bytes, POLICY_DIGEST_SIZE});
    MU_TRY(finish(&w, ret, err));
    return counter->index != 0 ? add_counter(counter, ret, err) : MU_OK;
}

static enum mu_status authority_digest(const struct seal_policy *policy, struct digest *ret,
                                       struct mu_error *err)
{
    uint8_t hashed[HASHED_MAX];
    uint8_t reference[SEAL_NAME_SIZE];
    struct writer w = begin(hashed, sizeof(hashed), TPM2_CC_PolicyAuthorize);
    struct reader r = reader_of(buffer_view(&policy->authority));
    struct digest name;
    size_t len;

    /* The Name is nameAlg || H(TPMT_PUBLIC), which a TPM2B_PUBLIC holds behind its size. */
    (void)reader_be16(&r);
    MU_TRY(hash_bytes(HASH_SHA256, reader_take(&r, reader_left(&r)), &name, err));
    writer_be16(&w, HASH_SHA256);
    writer_bytes(&w, (struct bytes){name.bytes, POLICY_DIGEST_SIZE});
    MU_TRY(finish(&w, ret, err));
    /* Once more, for the policyRef. */
    MU_TRY(seal_policy_ref(&policy->counter, reference, &len, err));
    w = writer_into(hashed, sizeof(hashed));
    writer_bytes(&w, (struct bytes){ret->bytes, POLICY_DIGEST_SIZE});
    writer_bytes(&w, (struct bytes){reference, len});
    return finish(&w, ret, err);
}

enum mu_status seal_policy_digest(const struct seal_policy *policy, struct digest *ret,
                                  struct mu_error *err)
{
    uint8_t hashed[HASHED_MAX];
    struct writer w = begin(hashed, sizeof(hashed), TPM2_CC_PolicyOR);

    if (policy->states < 1 || policy->states > SEAL_STATES_MAX)
        return mu_fail(err, MU_CONFIG, "a policy has 1 to %d states, not %zu", SEAL_STATES_MAX,
                       policy->states);
    if (policy->authority.data != NULL)
        return authority_digest(policy, ret, err);
    for (size_t i = 0; i < policy->states; i++) {
        MU_TRY(seal_state_digest(&policy->state[i], &policy->counter, ret, err));
        writer_bytes(&w, (struct bytes){ret->bytes, POLICY_DIGEST_SIZE});
    }
    return policy->states == 1 ? MU_OK : finish(&w, ret, err);
}

/* ---- the authority ---- */

static enum mu_status marshal(struct buffer *ret, const TPM2B_PUBLIC *public_area,
                              const TPMT_SIGNATURE *signature, struct mu_error *err)
{
    uint8_t bytes[SEAL_PART_MAX];
    size_t len = 0;
    TSS2_RC rc = public_area != NULL
                     ? Tss2_MU_TPM2B_PUBLIC_Marshal(public_area, bytes, sizeof(bytes), &len)
                     : Tss2_MU_TPMT_SIGNATURE_Marshal(signature, bytes, sizeof(bytes), &len);

    MU_TRY(tpm_check(err, rc, "marshal"));
    return buffer_copy(ret, (struct bytes){bytes, len}, err);
}

static enum mu_status curve_of(EVP_PKEY *key, TPMI_ECC_CURVE *ret, uint16_t *ret_size,
                               struct mu_error *err)
{
    int bits = EVP_PKEY_get_bits(key);

    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC || (bits != 256 && bits != 384))
        return mu_fail(err, MU_CONFIG,
                       "a TPM checks signatures of ECDSA keys with P-256 or P-384 only");
    *ret = bits == 256 ? TPM2_ECC_NIST_P256 : TPM2_ECC_NIST_P384;
    *ret_size = (uint16_t)(bits / 8);
    return MU_OK;
}

/* As systemd and tpm2_loadexternal have it. */
static enum mu_status authority_public(EVP_PKEY *key, struct buffer *ret, struct mu_error *err)
{
    TPM2B_PUBLIC area = {.publicArea = {
                             .type = TPM2_ALG_ECC,
                             .nameAlg = TPM2_ALG_SHA256,
                             .objectAttributes = TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_DECRYPT |
                                                 TPMA_OBJECT_SIGN_ENCRYPT,
                             .parameters.eccDetail = {.symmetric.algorithm = TPM2_ALG_NULL,
                                                      .scheme.scheme = TPM2_ALG_NULL,
                                                      .kdf.scheme = TPM2_ALG_NULL},
                         }};
    TPMT_PUBLIC *p = &area.publicArea;
    uint8_t point[POINT_MAX]; /* SEC 1, 2.3.3, uncompressed */
    size_t len = 0;
    uint16_t size;

    MU_TRY(curve_of(key, &p->parameters.eccDetail.curveID, &size, err));
    if (EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                       "uncompressed") != 1 ||
        EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &len) !=
            1 ||
        len != 1 + 2 * (size_t)size)
        return mu_fail(err, MU_CONFIG, "the authority's key has no usable public half");
    p->unique.ecc.x.size = p->unique.ecc.y.size = size;
    memcpy(p->unique.ecc.x.buffer, point + 1, size);
    memcpy(p->unique.ecc.y.buffer, point + 1 + size, size);
    return marshal(ret, &area, NULL, err);
}

enum mu_status seal_approval(const struct seal_policy *policy, size_t state,
                             uint8_t ret[static SEAL_APPROVAL_MAX], size_t *ret_len,
                             struct mu_error *err)
{
    struct digest approved;
    size_t len;

    MU_TRY(seal_state_digest(&policy->state[state], &policy->counter, &approved, err));
    memcpy(ret, approved.bytes, POLICY_DIGEST_SIZE);
    MU_TRY(seal_policy_ref(&policy->counter, ret + POLICY_DIGEST_SIZE, &len, err));
    *ret_len = POLICY_DIGEST_SIZE + len;
    return MU_OK;
}

/* Part 3, 23.16: over the approved policy and the policyRef, hashed with the key's nameAlg. */
static enum mu_status sign_state(EVP_PKEY *key, const struct seal_policy *policy, size_t state,
                                 struct buffer *ret, struct mu_error *err)
{
    MU_CLEANUP(md_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    MU_CLEANUP(ecdsa_sig_free) ECDSA_SIG *parts = NULL;
    TPMT_SIGNATURE signature = {.sigAlg = TPM2_ALG_ECDSA, .signature.ecdsa.hash = TPM2_ALG_SHA256};
    TPMS_SIGNATURE_ECC *ecc = &signature.signature.ecdsa;
    uint8_t der[128];
    const uint8_t *pos = der;
    size_t len = sizeof(der);
    uint8_t approval[SEAL_APPROVAL_MAX];
    size_t approval_len;
    TPMI_ECC_CURVE curve;

    MU_TRY(curve_of(key, &curve, &ecc->signatureR.size, err));
    ecc->signatureS.size = ecc->signatureR.size;
    MU_TRY(seal_approval(policy, state, approval, &approval_len, err));
    if (ctx == NULL || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 ||
        EVP_DigestSign(ctx, der, &len, approval, approval_len) != 1 ||
        (parts = d2i_ECDSA_SIG(NULL, &pos, (long)len)) == NULL ||
        BN_bn2binpad(ECDSA_SIG_get0_r(parts), ecc->signatureR.buffer, ecc->signatureR.size) < 0 ||
        BN_bn2binpad(ECDSA_SIG_get0_s(parts), ecc->signatureS.buffer, ecc->signatureS.size) < 0)
        return mu_fail(err, MU_CONFIG, "the authority's key cannot sign: is it a private key?");
    return marshal(ret, NULL, &signature, err);
}

enum mu_status seal_authorize(struct seal_policy *policy, EVP_PKEY *key, struct mu_error *err)
{
    MU_TRY(authority_public(key, &policy->authority, err));
    for (size_t i = 0; i < policy->states; i++)
        MU_TRY(sign_state(key, policy, i, &policy->signature[i], err));
    return MU_OK;
}
