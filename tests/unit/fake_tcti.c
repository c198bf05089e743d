/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fake_tcti.h"

#include <stdlib.h>
#include <string.h>

#include <tss2/tss2_tpm2_types.h>

#include "tpm/internal.h"

#define CC_NSM_REQUEST 0x20000001u
#define SM3_SIZE 32u

struct fake_tcti {
    TSS2_TCTI_CONTEXT_COMMON_V1 common;
    struct fake_tpm *tpm;
    uint8_t response[4096];
    size_t len;
    TSS2_RC receive_rc;
};

void fake_tpm_usual(struct fake_tpm *tpm)
{
    static const uint16_t algs[] = {HASH_SHA1, HASH_SHA256, HASH_SHA384};

    for (tpm->banks = 0; tpm->banks < 3; tpm->banks++) {
        tpm->bank[tpm->banks].alg = algs[tpm->banks];
        tpm->bank[tpm->banks].mask = PCR_BIT(PCR_COUNT) - 1;
    }
}

void fake_tpm_fault(struct fake_tpm *tpm, struct fake_fault fault)
{
    tpm->fault[tpm->faults++] = fault;
}

unsigned fake_tpm_count(const struct fake_tpm *tpm, uint32_t command)
{
    unsigned count = 0;

    for (size_t i = 0; i < tpm->commands; i++)
        count += tpm->log[i] == command;
    return count;
}

size_t fake_tpm_indexes(const struct fake_tpm *tpm)
{
    size_t count = 0;

    for (size_t i = 0; i < FAKE_NV_MAX; i++)
        count += tpm->nv[i].used;
    return count;
}

static struct fake_fault take_fault(struct fake_tpm *tpm, uint32_t command, bool *ret_hit)
{
    *ret_hit = false;
    for (size_t i = 0; i < tpm->faults; i++) {
        struct fake_fault *fault = &tpm->fault[i];

        if (fault->command != command)
            continue;
        if (fault->skip > 0) {
            fault->skip--;
            continue;
        }
        if (fault->count == 1)
            fault->command = 0;
        if (fault->count > 1)
            fault->count--;
        *ret_hit = true;
        return *fault;
    }
    return (struct fake_fault){0};
}

static size_t bank_size(uint16_t alg)
{
    size_t size = hash_size((enum hash_alg)alg);

    return size != 0 ? size : SM3_SIZE;
}

static void put_selection(struct writer *w, uint16_t alg, uint32_t mask)
{
    writer_be16(w, alg);
    writer_u8(w, 3);
    for (unsigned i = 0; i < 3; i++)
        writer_u8(w, (uint8_t)(mask >> (8 * i)));
}

static uint32_t get_capability(struct fake_tpm *tpm, struct reader *r, struct writer *w)
{
    uint32_t capability = reader_be32(r);
    uint32_t property = reader_be32(r);
    uint8_t handles[4 * FAKE_NV_MAX];
    struct writer list = writer_into(handles, sizeof(handles));

    writer_u8(w, 0);
    writer_be32(w, capability);
    if (capability == TPM2_CAP_PCRS) {
        writer_be32(w, (uint32_t)tpm->banks);
        for (size_t i = 0; i < tpm->banks; i++)
            put_selection(w, tpm->bank[i].alg, tpm->bank[i].mask);
    } else if (capability == TPM2_CAP_TPM_PROPERTIES) {
        bool known = property == TPM2_PT_MANUFACTURER || tpm->nv_chunk != 0;

        writer_be32(w, known);
        if (known)
            writer_be32(w, property);
        if (known)
            writer_be32(w, property == TPM2_PT_MANUFACTURER ? 0x46414b45 : tpm->nv_chunk);
    } else {
        for (uint32_t index = property; index < property + 0x100; index++)
            for (size_t i = 0; i < FAKE_NV_MAX; i++)
                if (tpm->nv[i].used && tpm->nv[i].index == index)
                    writer_be32(&list, index);
        writer_be32(w, (uint32_t)(list.len / 4));
        writer_bytes(w, (struct bytes){handles, list.len});
    }
    return 0;
}

static uint32_t pcr_read(struct fake_tpm *tpm, struct reader *r, struct writer *w)
{
    uint32_t wanted = 0, mask = 0, count = 0;
    struct fake_bank *bank = NULL;
    uint16_t alg;

    (void)reader_be32(r);
    alg = reader_be16(r);
    (void)reader_u8(r);
    for (unsigned i = 0; i < 3; i++)
        wanted |= (uint32_t)reader_u8(r) << (8 * i);
    for (size_t i = 0; i < tpm->banks; i++)
        if (tpm->bank[i].alg == alg)
            bank = &tpm->bank[i];
    for (unsigned pcr = 0; bank != NULL && pcr < PCR_COUNT && count < 8; pcr++)
        if ((wanted & bank->mask & PCR_BIT(pcr)) != 0) {
            mask |= PCR_BIT(pcr);
            count++;
        }
    writer_be32(w, tpm->update_counter);
    writer_be32(w, 1);
    put_selection(w, alg, mask);
    writer_be32(w, count);
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        if ((mask & PCR_BIT(pcr)) != 0) {
            writer_be16(w, (uint16_t)bank_size(alg));
            writer_bytes(w, (struct bytes){bank->pcr[pcr], bank_size(alg)});
        }
    return 0;
}

static struct bytes take_sized(struct reader *r)
{
    return reader_take(r, reader_be16(r));
}

/* The authorisation area of one password session; returns the password. */
static struct bytes take_auth(struct reader *r)
{
    (void)reader_be32(r);
    if (reader_be32(r) != TPM2_RS_PW)
        r->failed = true;
    (void)take_sized(r);
    (void)reader_u8(r);
    return take_sized(r);
}

static uint32_t pcr_event(struct fake_tpm *tpm, struct reader *r, struct writer *w,
                          const struct fake_fault *fault, bool hit)
{
    uint32_t pcr = reader_be32(r);
    struct mu_error err = {0};
    struct bytes data;

    (void)take_auth(r);
    data = take_sized(r);
    if (r->failed || pcr >= PCR_COUNT)
        return TPM2_RC_SIZE;
    writer_be32(w, 0); /* the digests are not looked at */
    for (size_t i = 0; i < tpm->banks; i++) {
        struct fake_bank *bank = &tpm->bank[i];
        enum hash_alg alg =
            hash_size((enum hash_alg)bank->alg) ? (enum hash_alg)bank->alg : HASH_SHA256;
        struct digest value, now;

        if ((bank->mask & PCR_BIT(pcr)) == 0 || (hit && fault->kind == FAKE_FORGET) ||
            (hit && fault->kind == FAKE_SKIP_BANK && fault->value == i))
            continue;
        memcpy(now.bytes, bank->pcr[pcr], HASH_MAX_SIZE);
        if (hash_bytes(alg, data, &value, &err) || hash_extend(alg, &now, value.bytes, &err))
            abort();
        memcpy(bank->pcr[pcr], now.bytes, HASH_MAX_SIZE);
    }
    tpm->update_counter++;
    return 0;
}

static struct fake_nv *find_nv(struct fake_tpm *tpm, uint32_t index)
{
    for (size_t i = 0; i < FAKE_NV_MAX; i++)
        if (tpm->nv[i].used && tpm->nv[i].index == index)
            return &tpm->nv[i];
    return NULL;
}

static uint32_t nv_define(struct fake_tpm *tpm, struct reader *r)
{
    struct bytes auth, public;
    struct reader inner;
    size_t i = 0;

    (void)reader_be32(r);
    (void)take_auth(r);
    auth = take_sized(r);
    public = take_sized(r);
    inner = reader_of(public);
    while (i < FAKE_NV_MAX && tpm->nv[i].used)
        i++;
    if (r->failed || i == FAKE_NV_MAX)
        return TPM2_RC_NV_SPACE;
    tpm->nv[i] = (struct fake_nv){.used = true, .public_len = public.len, .auth_len = auth.len};
    tpm->nv[i].index = reader_be32(&inner);
    memcpy(tpm->nv[i].public_area, public.data, public.len);
    memcpy(tpm->nv[i].auth, auth.data, auth.len);
    memset(tpm->nv[i].data, 0xff, sizeof(tpm->nv[i].data));
    return 0;
}

static uint32_t nv_read_public(struct fake_tpm *tpm, struct reader *r, struct writer *w)
{
    static const uint8_t name[34] = {0, 0x0b};
    uint32_t index = reader_be32(r);
    struct fake_nv *nv = find_nv(tpm, index);

    if (nv == NULL)
        return TPM2_RC_HANDLE | 0x100;
    writer_be16(w, (uint16_t)nv->public_len);
    writer_bytes(w, (struct bytes){nv->public_area, nv->public_len});
    writer_be16(w, sizeof(name));
    writer_bytes(w, (struct bytes){name, sizeof(name)});
    return 0;
}

/* NV_UndefineSpace: owner, index, owner's authorisation. */
static uint32_t nv_undefine(struct fake_tpm *tpm, struct reader *r)
{
    struct fake_nv *nv;

    (void)reader_be32(r);
    nv = find_nv(tpm, reader_be32(r));
    if (nv == NULL)
        return TPM2_RC_HANDLE | 0x200;
    nv->used = false;
    return 0;
}

/* NV_Write, NV_Read and the vendor command: the index twice, and its authorisation. */
static uint32_t nv_use(struct fake_tpm *tpm, uint32_t command, struct reader *r, struct writer *w)
{
    uint32_t first = reader_be32(r);
    uint32_t index = reader_be32(r);
    struct fake_nv *nv = find_nv(tpm, index);
    struct bytes auth = take_auth(r);
    size_t len, offset;

    if (nv == NULL || first != index)
        return TPM2_RC_HANDLE | 0x200;
    if (!bytes_equal(auth, (struct bytes){nv->auth, nv->auth_len}))
        return TPM2_RC_BAD_AUTH | 0x900;
    if (command == CC_NSM_REQUEST) {
        if (tpm->manager_rejects)
            return TSS2_RESMGR_RC_LAYER | TPM2_RC_COMMAND_CODE;
        if (tpm->nsm_answer.data == NULL)
            return TPM2_RC_COMMAND_CODE;
        memcpy(tpm->request, nv->data, sizeof(nv->data));
        memcpy(nv->data, tpm->nsm_answer.data, tpm->nsm_answer.len);
        return r->failed || reader_left(r) > 0 ? TPM2_RC_SIZE : 0;
    }
    if (command == TPM2_CC_NV_Write) {
        struct bytes data = take_sized(r);

        offset = reader_be16(r);
        if (offset + data.len > sizeof(nv->data) || (tpm->nv_chunk && data.len > tpm->nv_chunk))
            return TPM2_RC_NV_RANGE;
        memcpy(nv->data + offset, data.data, data.len);
        nv->public_area[6] |= 0x20; /* TPMA_NV_WRITTEN */
        return 0;
    }
    len = reader_be16(r);
    offset = reader_be16(r);
    if (offset + len > sizeof(nv->data) || (tpm->nv_chunk && len > tpm->nv_chunk))
        return TPM2_RC_NV_RANGE;
    writer_be16(w, (uint16_t)len);
    writer_bytes(w, (struct bytes){nv->data + offset, len});
    return 0;
}

static uint32_t execute(struct fake_tpm *tpm, uint32_t command, struct reader *r, struct writer *w,
                        const struct fake_fault *fault, bool hit)
{
    switch (command) {
    case TPM2_CC_GetCapability:
        return get_capability(tpm, r, w);
    case TPM2_CC_PCR_Read:
        return pcr_read(tpm, r, w);
    case TPM2_CC_PCR_Event:
        return pcr_event(tpm, r, w, fault, hit);
    case TPM2_CC_NV_DefineSpace:
        return nv_define(tpm, r);
    case TPM2_CC_NV_UndefineSpace:
        return nv_undefine(tpm, r);
    case TPM2_CC_NV_ReadPublic:
        return nv_read_public(tpm, r, w);
    case TPM2_CC_NV_Write:
    case TPM2_CC_NV_Read:
    case CC_NSM_REQUEST:
        return nv_use(tpm, command, r, w);
    default:
        return TPM2_RC_COMMAND_CODE;
    }
}

static void respond(struct fake_tcti *tcti, uint16_t tag, uint32_t rc, struct bytes parameters)
{
    static const uint8_t auth[] = {0, 0, 1, 0, 0};
    struct writer w = writer_into(tcti->response, sizeof(tcti->response));
    bool sessions = rc == 0 && tag == TPM2_ST_SESSIONS;
    size_t size = 10 + (rc == 0 ? parameters.len : 0) + (sessions ? 4 + sizeof(auth) : 0);

    writer_be16(&w, sessions ? TPM2_ST_SESSIONS : TPM2_ST_NO_SESSIONS);
    writer_be32(&w, (uint32_t)size);
    writer_be32(&w, rc);
    if (sessions)
        writer_be32(&w, (uint32_t)parameters.len);
    if (rc == 0)
        writer_bytes(&w, parameters);
    if (sessions)
        writer_bytes(&w, (struct bytes){auth, sizeof(auth)});
    if (w.failed || w.len != size)
        abort();
    tcti->len = size;
}

/* The kernel passes on no response shorter than a header, or than its own size field says. */
static void truncate_response(struct fake_tcti *tcti, size_t len)
{
    struct writer size = writer_into(tcti->response + 2, 4);

    writer_be32(&size, (uint32_t)len);
    tcti->len = len;
    if (len < 10)
        tcti->receive_rc = TSS2_TCTI_RC_IO_ERROR;
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command)
{
    struct fake_tcti *tcti = (struct fake_tcti *)(void *)context;
    struct fake_tpm *tpm = tcti->tpm;
    struct reader r = reader_of((struct bytes){command, size});
    uint8_t parameters[4000];
    struct writer w = writer_into(parameters, sizeof(parameters));
    uint16_t tag = reader_be16(&r);
    bool sized = reader_be32(&r) == size;
    uint32_t code = reader_be32(&r);
    struct fake_fault fault;
    uint32_t rc;
    bool hit;

    if (!sized)
        abort();
    if (tpm->commands < FAKE_LOG_MAX)
        tpm->log[tpm->commands++] = code;
    fault = take_fault(tpm, code, &hit);
    if (hit && fault.kind == FAKE_TRANSMIT)
        return fault.rc;
    rc = hit && fault.kind == FAKE_RC ? fault.rc : execute(tpm, code, &r, &w, &fault, hit);
    respond(tcti, tag, rc, (struct bytes){parameters, w.len});
    tcti->receive_rc = hit && fault.kind == FAKE_RECEIVE ? fault.rc : TSS2_RC_SUCCESS;
    if (hit && fault.kind == FAKE_TRUNCATE && fault.value < tcti->len)
        truncate_response(tcti, fault.value);
    if (hit && fault.kind == FAKE_FLIP && fault.value < tcti->len)
        tcti->response[fault.value] ^= 1;
    if (hit && fault.kind == FAKE_MOVE_PCRS)
        tpm->update_counter++;
    return TSS2_RC_SUCCESS;
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *response, int32_t timeout)
{
    struct fake_tcti *tcti = (struct fake_tcti *)(void *)context;

    (void)timeout;
    if (response == NULL) {
        *size = tcti->len;
        return TSS2_RC_SUCCESS;
    }
    if (tcti->receive_rc != TSS2_RC_SUCCESS)
        return tcti->receive_rc;
    if (*size < tcti->len)
        return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
    memcpy(response, tcti->response, tcti->len);
    *size = tcti->len;
    return TSS2_RC_SUCCESS;
}

static void finalize(TSS2_TCTI_CONTEXT *context)
{
    ((struct fake_tcti *)(void *)context)->tpm->connections--;
}

TSS2_TCTI_CONTEXT *fake_tcti_new(struct fake_tpm *tpm)
{
    struct fake_tcti *tcti = calloc(1, sizeof(*tcti));

    if (tcti == NULL)
        abort();
    tcti->common.version = 1;
    tcti->common.transmit = transmit;
    tcti->common.receive = receive;
    tcti->common.finalize = finalize;
    tcti->tpm = tpm;
    tpm->connections++;
    return (TSS2_TCTI_CONTEXT *)(void *)tcti;
}

static struct fake_tpm *current;

static enum mu_status connect_current(const char *where, TSS2_TCTI_CONTEXT **ret,
                                      struct mu_error *err)
{
    (void)where;
    (void)err;
    *ret = fake_tcti_new(current);
    return MU_OK;
}

struct tpm *fake_open(struct fake_tpm *tpm)
{
    struct mu_error err = {0};
    struct tpm *opened = NULL;

    current = tpm;
    if (tpm_open_with(connect_current, "fake", deadline_in(60), &opened, &err) != MU_OK)
        abort();
    return opened;
}
