/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Responses of the TPM. A TPM in memory answers soundly; the input says what becomes of each
 * answer, and where it ends, answers stay as they are. First byte: bits 0 to 2 say what is asked
 * for; bit 3 large NV reads, bit 4 no NV index is free, bit 5 no NitroTPM, bit 6 an index of
 * somebody else's, bit 7 a bank of an unknown algorithm. Then, for each command, one byte: 0 as it
 * is            1 so many bytes altered: (offset: u8, byte)... 2 another response: length be16,
 * bytes; the size in its header is made right 3 the same, with the size as it is          4
 * response code: be32 5 the transport fails: be32                 6 the response ends early: u8 */
#include <stdlib.h>
#include <string.h>

#include "fake_tcti.h"
#include "fuzz.h"
#include "tpm/fence.h"
#include "tpm/internal.h"

#define RESPONSE_MAX 4096
#define FIRST 0x01800000u
#define INDEXES 64u

enum asked { BANKS, READ, OPEN, CLOSE, ENSURE, REQUEST, MAKER, LISTED };

/* Between the program and the fake: the same TCTI interface outside and inside. */
struct hostile {
    TSS2_TCTI_CONTEXT_COMMON_V1 common;
    TSS2_TCTI_CONTEXT *inner;
    uint8_t response[RESPONSE_MAX];
    size_t len;
    TSS2_RC rc;
};

static struct fake_tpm fake;
static struct reader script;

static void write_be32(uint8_t *to, size_t value)
{
    struct writer w = writer_into(to, 4);

    writer_be32(&w, (uint32_t)value);
}

static void replace(struct hostile *h, bool right_size)
{
    struct bytes bytes = fuzz_take(&script, reader_be16(&script) % RESPONSE_MAX);

    memcpy(h->response, bytes.data, bytes.len);
    h->len = bytes.len;
    if (right_size && h->len >= 10)
        write_be32(h->response + 2, h->len);
    if (h->len < 10)
        h->rc = TSS2_TCTI_RC_MALFORMED_RESPONSE; /* the kernel passes on nothing shorter */
}

static void spoil(struct hostile *h)
{
    uint8_t times;

    switch (reader_left(&script) > 0 ? reader_u8(&script) % 7 : 0) {
    case 1:
        for (times = reader_u8(&script); times > 0 && reader_left(&script) >= 2; times--) {
            size_t at = reader_u8(&script);
            uint8_t byte = reader_u8(&script);

            if (at < h->len)
                h->response[at] = byte;
        }
        return;
    case 2:
        replace(h, true);
        return;
    case 3:
        replace(h, false);
        return;
    case 4:
        write_be32(h->response + 6, reader_be32(&script));
        h->response[1] = 1; /* TPM2_ST_NO_SESSIONS */
        h->len = 10;
        write_be32(h->response + 2, h->len);
        return;
    case 5:
        h->rc = reader_be32(&script);
        return;
    case 6:
        h->len -= reader_u8(&script) % (h->len - 9);
        write_be32(h->response + 2, h->len);
        return;
    default:
        return;
    }
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command)
{
    struct hostile *h = (struct hostile *)(void *)context;

    h->len = sizeof(h->response);
    h->rc = TSS2_RC_SUCCESS;
    fuzz_require(Tss2_Tcti_Transmit(h->inner, size, command) == TSS2_RC_SUCCESS &&
                     Tss2_Tcti_Receive(h->inner, &h->len, h->response, -1) == TSS2_RC_SUCCESS,
                 "the fake answers");
    spoil(h);
    return TSS2_RC_SUCCESS;
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *response, int32_t timeout)
{
    struct hostile *h = (struct hostile *)(void *)context;
    TSS2_RC rc = h->rc;

    (void)timeout;
    /* Once: ESYS asks again without end after TSS2_BASE_RC_TRY_AGAIN, which no TCTI says for ever.
     */
    h->rc = TSS2_RC_SUCCESS;
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    if (response != NULL && *size < h->len)
        return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
    if (response != NULL)
        memcpy(response, h->response, h->len);
    *size = h->len;
    return TSS2_RC_SUCCESS;
}

static void finalize(TSS2_TCTI_CONTEXT *context)
{
    struct hostile *h = (struct hostile *)(void *)context;

    Tss2_Tcti_Finalize(h->inner);
    free(h->inner);
}

static enum mu_status connect_hostile(const char *where, TSS2_TCTI_CONTEXT **ret,
                                      struct mu_error *err)
{
    struct hostile *h = calloc(1, sizeof(*h));

    (void)where, (void)err;
    fuzz_require(h != NULL, "memory");
    h->common.version = 1;
    h->common.transmit = transmit;
    h->common.receive = receive;
    h->common.finalize = finalize;
    h->inner = fake_tcti_new(&fake);
    *ret = (TSS2_TCTI_CONTEXT *)(void *)h;
    return MU_OK;
}

static enum mu_status ask(struct tpm *tpm, enum asked asked, struct mu_error *err)
{
    static const uint8_t request[1500] = {0xa1};
    static const struct bytes items[] = {{(const uint8_t *)"one", 3}, {(const uint8_t *)"two", 3}};
    MU_CLEANUP(buffer_free) struct buffer answer = {0};
    struct pcr_values values;
    struct tpm_banks banks;
    char maker[5];
    bool listed;

    switch (asked) {
    case BANKS:
        return tpm_banks(tpm, &banks, err);
    case READ:
        return tpm_pcr_read(tpm, HASH_SHA384, 0x00ff90, &values, err);
    case OPEN:
        return fence_check_open(tpm, 15, err);
    case CLOSE:
        return fence_close(tpm, 15, items, 2, err);
    case ENSURE:
        return fence_ensure_all(tpm, "reason", err);
    case REQUEST:
        if (tpm_nsm_request(tpm, (struct bytes){request, sizeof(request)}, &answer, err) == MU_OK)
            return MU_OK;
        /* What the first one left behind is found by a second one. */
        return tpm_nsm_request(tpm, (struct bytes){request, sizeof(request)}, &answer, err);
    case MAKER:
        return tpm_manufacturer(tpm, maker, err);
    default:
        return tpm_nsm_listed(tpm, &listed, err);
    }
}

/* An index of somebody else's, where ours would be: TPMS_NV_PUBLIC of 16 bytes of data. */
static void add_foreign_index(uint32_t n)
{
    static const uint8_t area[] = {1, 0x80, 0, 0, 0, 0x0b, 0, 4, 0, 4, 0, 0, 0, 16};

    fake.nv[n] = (struct fake_nv){.used = true, .index = FIRST + n, .public_len = sizeof(area)};
    memcpy(fake.nv[n].public_area, area, sizeof(area));
    fake.nv[n].public_area[3] = (uint8_t)n;
}

/* "The fence holds" is only said where it does. */
static bool fence_is(bool closed)
{
    static const uint8_t zeros[HASH_MAX_SIZE];

    for (size_t i = 0; i < fake.banks; i++)
        if ((memcmp(fake.bank[i].pcr[15], zeros, sizeof(zeros)) != 0) != closed)
            return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t document[600] = {0xa1, 0x61, 'x', 0x59, 0x02, 0x50};
    struct mu_error err = {0};
    struct tpm *tpm = NULL;
    uint8_t which;
    uint32_t foreign;
    enum mu_status status;

    script = reader_of((struct bytes){data, size});
    which = reader_u8(&script);
    foreign = (which & 0x10) != 0 ? INDEXES : (which & 0x40) != 0 ? 1 : 0;
    fake = (struct fake_tpm){.nv_chunk = 512};
    fake.nsm_answer = (struct bytes){document, sizeof(document)};
    fuzz_pauses = 20;
    fake_tpm_usual(&fake);
    if (which & 0x80)
        fake.bank[fake.banks++] = (struct fake_bank){.alg = 0x0012, .mask = 0xffffff};
    if (which & 0x08)
        fake.nv_chunk = 3000;
    for (uint32_t n = 0; n < foreign; n++)
        add_foreign_index(n);
    if (which & 0x20)
        fake.nsm_answer = (struct bytes){NULL, 0};
    if (tpm_open_with(connect_hostile, "hostile", deadline_in(60), &tpm, &err) != MU_OK)
        return 0;
    status = ask(tpm, (which & 7), &err);
    fuzz_outcome(status, &err,
                 1u << MU_REFUSE | 1u << MU_RETRY | 1u << MU_CONFIG | 1u << MU_INTERNAL);
    if (size == 1) /* nothing was spoilt */
        fuzz_require((status == MU_OK || (which & 0x30) != 0) && fake_tpm_indexes(&fake) == foreign,
                     "a sound TPM is used, and left as it was");
    if (size == 1 && ((which & 7) == CLOSE || (which & 7) == ENSURE))
        fuzz_require(fence_is(true), "the fence is closed");
    tpm_close(&tpm);
    fuzz_require(fake.connections == 0, "no connection is left open");
    return 0;
}
