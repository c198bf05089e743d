/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "tpm/internal.h"

#define READ_ATTEMPTS 8
#define EVENT_MAX 1024u
#define SELECT_SIZE 3u

/* TPM 2.0 Part 2, 10.6.2: bit n of octet n / 8 */
static uint32_t selection_mask(const TPMS_PCR_SELECTION *selection)
{
    uint32_t mask = 0;

    for (unsigned i = 0; i < selection->sizeofSelect && i < sizeof(selection->pcrSelect); i++)
        mask |= (uint32_t)selection->pcrSelect[i] << (8 * i);
    return mask & (PCR_BIT(PCR_COUNT) - 1);
}

enum mu_status tpm_banks(struct tpm *tpm, struct tpm_banks *ret, struct mu_error *err)
{
    const struct tpm_capability wanted = {TPM2_CAP_PCRS, 0, 1, "list the PCR banks"};
    MU_CLEANUP(esys_free) TPMS_CAPABILITY_DATA *data = NULL;
    struct tpm_banks banks = {0};
    uint32_t count;

    MU_TRY(tpm_get_capability(tpm, &wanted, NULL, &data, err));
    count = data->data.assignedPCR.count;
    for (; banks.count < count && banks.count < TPM_BANKS_MAX; banks.count++) {
        const TPMS_PCR_SELECTION *from = &data->data.assignedPCR.pcrSelections[banks.count];

        banks.bank[banks.count] = (struct tpm_bank){from->hash, selection_mask(from)};
    }
    if (count > TPM_BANKS_MAX)
        return mu_fail(err, MU_CONFIG, "TPM: %u PCR banks, more than %d", count, TPM_BANKS_MAX);
    *ret = banks;
    return MU_OK;
}

static enum mu_status check_allocated(struct tpm *tpm, enum hash_alg alg, uint32_t mask,
                                      struct mu_error *err)
{
    char names[TPM_BANKS_MAX * 10] = "";
    struct tpm_banks banks = {0};
    size_t len = 0;

    MU_TRY(tpm_banks(tpm, &banks, err));
    for (size_t i = 0; i < banks.count; i++) {
        const struct tpm_bank *bank = &banks.bank[i];

        if (bank->alg == alg && bank->mask != 0) {
            if ((bank->mask & mask) == mask)
                return MU_OK;
            return mu_fail(err, MU_CONFIG, "TPM: PCR mask 0x%06x is not allocated in bank %s",
                           mask & ~bank->mask, hash_name(alg));
        }
        if (bank->mask != 0)
            len += (size_t)snprintf(names + len, sizeof(names) - len, " %s",
                                    hash_name((enum hash_alg)bank->alg));
    }
    return mu_fail(err, MU_CONFIG,
                   "TPM: no %s bank, only%s; allocate it (tpm2_pcrallocate, then reboot)",
                   hash_name(alg), len > 0 ? names : " none");
}

/* TPM 2.0 Part 3, 22.4 */
static enum mu_status send_pcr_read(struct tpm *tpm, enum hash_alg alg, uint32_t mask,
                                    struct tpm_response *ret, struct mu_error *err)
{
    uint8_t command[20];
    struct writer w = writer_into(command, sizeof(command));

    writer_be16(&w, TPM2_ST_NO_SESSIONS);
    writer_be32(&w, sizeof(command));
    writer_be32(&w, TPM2_CC_PCR_Read);
    writer_be32(&w, 1);
    writer_be16(&w, (uint16_t)alg);
    writer_u8(&w, SELECT_SIZE);
    for (unsigned i = 0; i < SELECT_SIZE; i++)
        writer_u8(&w, (uint8_t)(mask >> (8 * i)));
    MU_TRY(tpm_transceive(tpm, (struct bytes){command, w.len}, "read PCRs", ret, err));
    return tpm_check(err, ret->rc, "read PCRs");
}

/* One selection of this bank; 0 if it is anything else. */
static uint32_t take_selection(struct reader *r, enum hash_alg alg)
{
    bool same = reader_be32(r) == 1 && reader_be16(r) == (uint16_t)alg;
    uint32_t mask = 0;
    uint8_t size = reader_u8(r);

    for (unsigned i = 0; i < size; i++) {
        uint8_t bits = reader_u8(r);

        if (i < SELECT_SIZE)
            mask |= (uint32_t)bits << (8 * i);
    }
    return same && !r->failed ? mask : 0;
}

/* The values come in ascending order of the PCRs in the returned selection, as many as fit. Returns
 * the PCRs taken; 0 if the response is not an answer to what was asked. */
static uint32_t take_values(struct bytes response, uint32_t left, struct pcr_values *to,
                            uint32_t *ret_counter)
{
    struct reader r = reader_of(response);
    size_t size = hash_size(to->bank);
    uint32_t mask, count, taken = 0;

    *ret_counter = reader_be32(&r);
    mask = take_selection(&r, to->bank);
    count = reader_be32(&r);
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        size_t len;

        if ((mask & PCR_BIT(pcr)) == 0)
            continue;
        len = reader_be16(&r);
        if (len == 0 || len > HASH_MAX_SIZE || (size != 0 && len != size))
            return 0;
        reader_copy(&r, to->value[pcr].bytes, len);
        taken |= PCR_BIT(pcr);
        count--;
    }
    return r.failed || reader_left(&r) > 0 || count != 0 || taken != mask || (mask & ~left) != 0
               ? 0
               : taken;
}

/* *ret_moved: the PCRs changed between two commands. */
static enum mu_status read_all(struct tpm *tpm, struct pcr_values *to, bool *ret_moved,
                               struct mu_error *err)
{
    uint32_t first_counter = 0;

    *ret_moved = false;
    for (uint32_t left = to->mask; left != 0;) {
        struct tpm_response response;
        uint32_t counter, taken;

        MU_TRY(send_pcr_read(tpm, to->bank, left, &response, err));
        taken = take_values((struct bytes){response.body, response.len}, left, to, &counter);
        if (taken == 0)
            return mu_fail(err, MU_REFUSE, "TPM: read PCRs: not the PCRs that were asked for");
        if (left == to->mask)
            first_counter = counter;
        if (counter != first_counter) {
            *ret_moved = true;
            return MU_OK;
        }
        left &= ~taken;
    }
    return MU_OK;
}

enum mu_status tpm_pcr_read_allocated(struct tpm *tpm, enum hash_alg bank, uint32_t mask,
                                      struct pcr_values *ret, struct mu_error *err)
{
    for (unsigned i = 0; i < READ_ATTEMPTS; i++) {
        struct pcr_values values = {.bank = bank, .mask = mask};
        bool moved;

        MU_TRY(read_all(tpm, &values, &moved, err));
        if (!moved) {
            *ret = values;
            return MU_OK;
        }
    }
    return mu_fail(err, MU_RETRY, "TPM: the PCRs keep changing while they are read");
}

enum mu_status tpm_pcr_read(struct tpm *tpm, enum hash_alg bank, uint32_t mask,
                            struct pcr_values *ret, struct mu_error *err)
{
    if (mask == 0 || mask >= PCR_BIT(PCR_COUNT))
        return mu_fail(err, MU_INTERNAL, "PCR mask 0x%x", mask);
    MU_TRY(check_allocated(tpm, bank, mask, err));
    return tpm_pcr_read_allocated(tpm, bank, mask, ret, err);
}

enum mu_status tpm_pcr_event(struct tpm *tpm, unsigned pcr, struct bytes data, struct mu_error *err)
{
    TPM2B_EVENT event = {.size = (UINT16)data.len};
    MU_CLEANUP(esys_free) TPML_DIGEST_VALUES *digests = NULL;

    if (pcr >= PCR_COUNT || data.len == 0 || data.len > EVENT_MAX)
        return mu_fail(err, MU_INTERNAL, "PCR %u cannot be extended with %zu bytes", pcr, data.len);
    memcpy(event.buffer, data.data, data.len);
    return tpm_check(err,
                     TPM_CALL(tpm, Esys_PCR_Event(tpm->esys, ESYS_TR_PCR0 + pcr, ESYS_TR_PASSWORD,
                                                  ESYS_TR_NONE, ESYS_TR_NONE, &event, &digests)),
                     "extend a PCR");
}
