/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <tss2/tss2_mu.h>

#include "base/cbor.h"
#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "tpm/internal.h"

#define CC_NSM_REQUEST 0x20000001u /* TPM2_VENDOR_AWS_NSM_REQUEST */
#define AUTH_SIZE 32u
#define AREA_SIZE 8192u
#define CHUNK_UNKNOWN 512u
#define LOCK_STEP_MS 20u
/* TCG Registry of Reserved TPM 2.0 Handles, 2.2.2: the owner's part of the NV indexes. */
#define SLOT_FIRST 0x01800000u
#define SLOTS 64u
#define LABEL "measured-unlock NSM request area, version 1"

/* The NV index that carries the request there and the answer back. */
struct area {
    struct tpm *tpm;
    ESYS_TR nv; /* ESYS_TR_NONE if there is none */
    uint32_t index;
    struct secret auth;
    size_t chunk;
};

/* Two such programs on one resource manager: each would take the other's area for a leftover. */
static enum mu_status lock_device(const struct tpm *tpm, int *ret_fd, struct mu_error *err)
{
    MU_CLEANUP(fd_close) int fd = -1;

    if (tpm->managed_path == NULL)
        return MU_OK;
    fd = open(tpm->managed_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mu_fail(err, MU_RETRY, "%s: %s", tpm->managed_path, strerror(errno));
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return mu_fail(err, MU_INTERNAL, "%s: lock: %s", tpm->managed_path, strerror(errno));
        if (!clock_pause_ms(LOCK_STEP_MS, tpm->deadline))
            return mu_fail(err, MU_RETRY, "%s: another program holds an attestation for too long",
                           tpm->managed_path);
    }
    *ret_fd = fd;
    fd = -1;
    return MU_OK;
}

/* No attribute lets the policy be used; its value only tells that the index is ours. */
static enum mu_status area_public(uint32_t index, TPM2B_NV_PUBLIC *ret, struct mu_error *err)
{
    const struct bytes label = {(const uint8_t *)LABEL, sizeof(LABEL) - 1};
    struct digest digest;

    MU_TRY(hash_bytes(HASH_SHA256, label, &digest, err));
    *ret = (TPM2B_NV_PUBLIC){
        .nvPublic = {.nvIndex = index,
                     .nameAlg = TPM2_ALG_SHA256,
                     .attributes = TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE | TPMA_NV_NO_DA,
                     .authPolicy = {.size = (UINT16)hash_size(HASH_SHA256)},
                     .dataSize = AREA_SIZE},
    };
    memcpy(ret->nvPublic.authPolicy.buffer, digest.bytes, hash_size(HASH_SHA256));
    return MU_OK;
}

static bool same_public(const TPMS_NV_PUBLIC *a, const TPMS_NV_PUBLIC *b)
{
    uint8_t bytes_a[sizeof(*a)], bytes_b[sizeof(*b)];
    size_t len_a = 0, len_b = 0;

    return Tss2_MU_TPMS_NV_PUBLIC_Marshal(a, bytes_a, sizeof(bytes_a), &len_a) == 0 &&
           Tss2_MU_TPMS_NV_PUBLIC_Marshal(b, bytes_b, sizeof(bytes_b), &len_b) == 0 &&
           bytes_equal((struct bytes){bytes_a, len_a}, (struct bytes){bytes_b, len_b});
}

/* Bit n of *ret_used: index SLOT_FIRST + n is defined. */
static enum mu_status list_slots(struct tpm *tpm, uint64_t *ret_used, struct mu_error *err)
{
    uint32_t next = SLOT_FIRST;
    TPMI_YES_NO more = TPM2_YES;
    uint64_t used = 0;

    while (more == TPM2_YES && next < SLOT_FIRST + SLOTS) {
        const struct tpm_capability wanted = {TPM2_CAP_HANDLES, next, SLOTS, "list NV indexes"};
        MU_CLEANUP(esys_free) TPMS_CAPABILITY_DATA *data = NULL;
        uint32_t count;

        MU_TRY(tpm_get_capability(tpm, &wanted, &more, &data, err));
        count = data->data.handles.count;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t handle = data->data.handles.handle[i];

            if (handle < next || handle >= SLOT_FIRST + SLOTS) {
                more = TPM2_NO;
                break;
            }
            used |= 1ull << (handle - SLOT_FIRST);
            next = handle + 1;
        }
        if (count == 0)
            break;
    }
    *ret_used = used;
    return MU_OK;
}

static TSS2_RC undefine(struct tpm *tpm, ESYS_TR nv)
{
    return TPM_CALL(tpm, Esys_NV_UndefineSpace(tpm->esys, ESYS_TR_RH_OWNER, nv, ESYS_TR_PASSWORD,
                                               ESYS_TR_NONE, ESYS_TR_NONE));
}

static enum mu_status read_public(struct tpm *tpm, uint32_t index, ESYS_TR *ret_nv,
                                  TPM2B_NV_PUBLIC **ret_public, struct mu_error *err)
{
    TSS2_RC rc;

    MU_TRY(tpm_check(err, tpm_nv_find(tpm, index, ret_nv), "look at an NV index"));
    rc = TPM_CALL(tpm, Esys_NV_ReadPublic(tpm->esys, *ret_nv, ESYS_TR_NONE, ESYS_TR_NONE,
                                          ESYS_TR_NONE, ret_public, NULL));
    if (rc == TSS2_RC_SUCCESS)
        return MU_OK;
    (void)Esys_TR_Close(tpm->esys, ret_nv);
    return tpm_fail(err, rc, "look at an NV index");
}

/* Removes the index if it is ours, down to the last byte of its public area. */
static enum mu_status remove_leftover(struct tpm *tpm, uint32_t index, bool *ret_removed,
                                      struct mu_error *err)
{
    ESYS_TR nv = ESYS_TR_NONE;
    MU_CLEANUP(esys_free) TPM2B_NV_PUBLIC *found = NULL;
    TPM2B_NV_PUBLIC ours;

    MU_TRY(area_public(index, &ours, err));
    MU_TRY(read_public(tpm, index, &nv, &found, err));
    found->nvPublic.attributes &= ~TPMA_NV_WRITTEN;
    *ret_removed = same_public(&found->nvPublic, &ours.nvPublic);
    if (!*ret_removed) {
        (void)Esys_TR_Close(tpm->esys, &nv);
        return MU_OK;
    }
    MU_TRY(tpm_check(err, undefine(tpm, nv), "remove an NV index that was left behind"));
    log_line("removed NV index 0x%08x, left behind by an earlier boot", index);
    return MU_OK;
}

/* Bit n of *ret_used: SLOT_FIRST + n belongs to somebody else. */
static enum mu_status remove_leftovers(struct tpm *tpm, uint64_t *ret_used, struct mu_error *err)
{
    uint64_t used = 0;

    MU_TRY(list_slots(tpm, &used, err));
    for (uint32_t i = 0; i < SLOTS; i++) {
        bool removed = false;

        if ((used & 1ull << i) == 0)
            continue;
        MU_TRY(remove_leftover(tpm, SLOT_FIRST + i, &removed, err));
        if (removed)
            used &= ~(1ull << i);
    }
    *ret_used = used;
    return MU_OK;
}

/* By its index if the ESYS_TR was lost with the connection. */
static TSS2_RC undefine_surely(struct area *area)
{
    TSS2_RC rc = undefine(area->tpm, area->nv);

    if (rc == TSS2_RC_SUCCESS)
        return rc;
    rc = tpm_nv_find(area->tpm, area->index, &area->nv);
    return rc == TSS2_RC_SUCCESS ? undefine(area->tpm, area->nv) : rc;
}

static void area_remove(struct area *area)
{
    if (area->nv != ESYS_TR_NONE && undefine_surely(area) != TSS2_RC_SUCCESS)
        log_line("NV index 0x%08x could not be removed; the next attestation will", area->index);
    area->nv = ESYS_TR_NONE;
    secret_free(&area->auth);
}

static TSS2_RC define_at(struct area *area, const TPM2B_NV_PUBLIC *public)
{
    TPM2B_AUTH auth = {.size = AUTH_SIZE};
    TSS2_RC rc;

    memcpy(auth.buffer, area->auth.data, AUTH_SIZE);
    rc = TPM_CALL(area->tpm,
                  Esys_NV_DefineSpace(area->tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                      ESYS_TR_NONE, ESYS_TR_NONE, &auth, public, &area->nv));
    explicit_bzero(&auth, sizeof(auth));
    return rc;
}

static enum mu_status fail_define(TSS2_RC rc, struct mu_error *err)
{
    switch (tpm_rc_base(rc)) {
    case TPM2_RC_BAD_AUTH:
    case TPM2_RC_AUTH_FAIL:
        return mu_fail(err, MU_CONFIG,
                       "TPM: the owner hierarchy has an authorisation value; it must be empty "
                       "(tpm2_changeauth -c owner)");
    case TPM2_RC_SIZE:
    case TPM2_RC_NV_SIZE:
        return mu_fail(err, MU_CONFIG, "not a NitroTPM: the TPM has no NV index of %u bytes",
                       AREA_SIZE);
    default:
        return tpm_fail(err, rc, "define an NV index for the attestation request");
    }
}

static enum mu_status area_define(struct area *area, struct mu_error *err)
{
    uint64_t used = 0;
    uint32_t chunk;

    MU_TRY(tpm_property(area->tpm, TPM2_PT_NV_BUFFER_MAX, &chunk, err));
    area->chunk = chunk == 0 ? CHUNK_UNKNOWN : chunk;
    if (area->chunk > TPM2_MAX_NV_BUFFER_SIZE)
        area->chunk = TPM2_MAX_NV_BUFFER_SIZE;
    MU_TRY(secret_random(&area->auth, AUTH_SIZE, err));
    MU_TRY(remove_leftovers(area->tpm, &used, err));
    for (uint32_t i = 0; i < SLOTS; i++) {
        TPM2B_NV_PUBLIC public;
        TSS2_RC rc;

        if ((used & 1ull << i) != 0)
            continue;
        area->index = SLOT_FIRST + i;
        MU_TRY(area_public(area->index, &public, err));
        rc = define_at(area, &public);
        if (rc == TSS2_RC_SUCCESS)
            return MU_OK;
        area->nv = ESYS_TR_NONE;
        if (tpm_rc_base(rc) != TPM2_RC_NV_DEFINED)
            return fail_define(rc, err);
    }
    return mu_fail(err, MU_CONFIG, "TPM: NV indexes 0x%08x to 0x%08x are all taken", SLOT_FIRST,
                   SLOT_FIRST + SLOTS - 1);
}

static enum mu_status area_write(struct area *area, struct bytes from, struct mu_error *err)
{
    for (size_t done = 0; done < from.len;) {
        size_t len = from.len - done < area->chunk ? from.len - done : area->chunk;
        TPM2B_MAX_NV_BUFFER part = {.size = (UINT16)len};

        memcpy(part.buffer, from.data + done, len);
        MU_TRY(tpm_check(
            err,
            TPM_CALL(area->tpm, Esys_NV_Write(area->tpm->esys, area->nv, area->nv, ESYS_TR_PASSWORD,
                                              ESYS_TR_NONE, ESYS_TR_NONE, &part, (UINT16)done)),
            "write the attestation request"));
        done += len;
    }
    return MU_OK;
}

static enum mu_status area_read(struct area *area, size_t offset, uint8_t *to, size_t len,
                                struct mu_error *err)
{
    MU_CLEANUP(esys_free) TPM2B_MAX_NV_BUFFER *part = NULL;
    TSS2_RC rc = TPM_CALL(area->tpm, Esys_NV_Read(area->tpm->esys, area->nv, area->nv,
                                                  ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                                  (UINT16)len, (UINT16)offset, &part));

    MU_TRY(tpm_check(err, rc, "read the attestation answer"));
    if (part->size != len)
        return mu_fail(err, MU_REFUSE, "TPM: read the attestation answer: wrong number of bytes");
    memcpy(to, part->buffer, len);
    return MU_OK;
}

/* The length of the CBOR item at the start; 0 if the item is incomplete or invalid. The answer's
 * own lengths never decide how much is allocated. */
static size_t item_length(struct bytes b)
{
    struct reader r = reader_of(b);

    cbor_skip(&r);
    return r.failed ? 0 : reader_offset(&r);
}

/* Reading NV is slow: no further than to the end of the answer. */
static enum mu_status area_answer(struct area *area, struct buffer *ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer all = {0};

    MU_TRY(buffer_alloc(&all, AREA_SIZE, err));
    for (size_t have = 0; have < AREA_SIZE;) {
        size_t len = AREA_SIZE - have < area->chunk ? AREA_SIZE - have : area->chunk;

        MU_TRY(area_read(area, have, all.data + have, len, err));
        have += len;
        all.len = item_length((struct bytes){all.data, have});
        if (all.len == 0)
            continue;
        *ret = MU_TAKE(all);
        return MU_OK;
    }
    return mu_fail(err, MU_REFUSE, "TPM: the attestation answer is not CBOR of at most %u bytes",
                   AREA_SIZE);
}

/* Two handles, both the index; one password authorisation; no parameters. */
static enum mu_status send_request(struct area *area, TSS2_RC *ret_rc, struct mu_error *err)
{
    uint8_t command[10 + 8 + 4 + 9 + AUTH_SIZE];
    struct writer w = writer_into(command, sizeof(command));
    struct tpm_response response;
    enum mu_status status;

    writer_be16(&w, TPM2_ST_SESSIONS);
    writer_be32(&w, sizeof(command));
    writer_be32(&w, CC_NSM_REQUEST);
    writer_be32(&w, area->index);
    writer_be32(&w, area->index);
    writer_be32(&w, 9 + AUTH_SIZE);
    writer_be32(&w, TPM2_RS_PW);
    writer_be16(&w, 0);
    writer_u8(&w, 0);
    writer_be16(&w, AUTH_SIZE);
    writer_bytes(&w, secret_view(&area->auth));
    if (w.failed || w.len != sizeof(command))
        return mu_fail(err, MU_INTERNAL, "the vendor command has a wrong length");
    status = tpm_transceive(area->tpm, (struct bytes){command, sizeof(command)},
                            "attestation request", &response, err);
    explicit_bzero(command, sizeof(command));
    if (status == MU_OK)
        *ret_rc = response.rc;
    return status;
}

static enum mu_status request_once(struct tpm *tpm, struct bytes request, TSS2_RC *ret_rc,
                                   struct buffer *ret, struct mu_error *err)
{
    MU_CLEANUP(fd_close) int lock = -1;
    MU_CLEANUP(area_remove) struct area area = {.tpm = tpm, .nv = ESYS_TR_NONE};

    MU_TRY(lock_device(tpm, &lock, err));
    MU_TRY(area_define(&area, err));
    MU_TRY(area_write(&area, request, err));
    MU_TRY(send_request(&area, ret_rc, err));
    return *ret_rc == TSS2_RC_SUCCESS ? area_answer(&area, ret, err) : MU_OK;
}

static enum mu_status fail_request(struct tpm *tpm, TSS2_RC rc, struct mu_error *err)
{
    char maker[5] = "";

    if (tpm_rc_base(rc) != TPM2_RC_COMMAND_CODE)
        return tpm_fail(err, rc, "attestation request");
    MU_TRY(tpm_manufacturer(tpm, maker, err));
    return mu_fail(err, MU_CONFIG,
                   "not a NitroTPM: the TPM (made by \"%s\") does not know command 0x%08x", maker,
                   CC_NSM_REQUEST);
}

/* Part 2, 8.9, TPMA_CC: bits 0 to 15 are the command index, bit 29 says that it is a vendor's. */
enum mu_status tpm_nsm_listed(struct tpm *tpm, bool *ret, struct mu_error *err)
{
    const struct tpm_capability wanted = {TPM2_CAP_COMMANDS, CC_NSM_REQUEST, 1, "list commands"};
    MU_CLEANUP(esys_free) TPMS_CAPABILITY_DATA *data = NULL;

    MU_TRY(tpm_get_capability(tpm, &wanted, NULL, &data, err));
    *ret = data->data.command.count >= 1 &&
           (data->data.command.commandAttributes[0] & 0x2000ffffu) == CC_NSM_REQUEST;
    return MU_OK;
}

enum mu_status tpm_nsm_request(struct tpm *tpm, struct bytes request, struct buffer *ret,
                               struct mu_error *err)
{
    const TSS2_RC unknown_to_manager = TSS2_RESMGR_RC_LAYER | TPM2_RC_COMMAND_CODE;
    TSS2_RC rc = TSS2_RC_SUCCESS;

    if (request.len == 0 || request.len > AREA_SIZE)
        return mu_fail(err, MU_INTERNAL, "attestation request of %zu bytes", request.len);
    MU_TRY(request_once(tpm, request, &rc, ret, err));
    if (rc == unknown_to_manager && tpm->managed_path != NULL) {
        MU_TRY(tpm_go_direct(tpm, err));
        MU_TRY(request_once(tpm, request, &rc, ret, err));
    }
    return rc == TSS2_RC_SUCCESS ? MU_OK : fail_request(tpm, rc, err);
}
