/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What NitroTPM leaves in the NV index: decoded as it is, and fetched through a TPM in memory. */
#include "attest/attest.h"

#include <string.h>

#include "attest/document.h"
#include "fake_tcti.h"
#include "fuzz.h"

#define AREA 8192

/* The document carries these fields, or others. */
static void attest(struct bytes answer, struct bytes raw)
{
    static struct fake_tpm fake;
    MU_CLEANUP(document_free) struct document document = {0};
    MU_CLEANUP(buffer_free) struct buffer got = {0};
    struct nsm_fields fields = {.public_key = {(const uint8_t *)"key", 3}};
    struct mu_error err = {0};
    struct tpm *tpm;
    enum mu_status status;

    if (document_parse(raw, &document, &err) == MU_OK)
        fields = (struct nsm_fields){document.user_data, document.nonce, document.public_key};
    fake = (struct fake_tpm){.nv_chunk = answer.len % 3 == 0 ? 0 : 1024, .nsm_answer = answer};
    fuzz_pauses = 20;
    fake_tpm_usual(&fake);
    tpm = fake_open(&fake);
    status = nsm_attest(tpm, &fields, &got, &err);
    fuzz_outcome(status, &err,
                 1u << MU_REFUSE | 1u << MU_RETRY | 1u << MU_CONFIG | 1u << MU_INTERNAL);
    fuzz_require((status == MU_OK) == (got.data != NULL), "a document or a failure");
    fuzz_require(fake_tpm_indexes(&fake) == 0, "no NV index is left behind");
    tpm_close(&tpm);
    fuzz_require(fake.connections == 0, "no connection is left open");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MU_CLEANUP(buffer_free) struct buffer document = {0};
    struct mu_error err = {0};
    struct nsm_fields fields = {{data, size}, {data, size / 2}, {NULL, 0}};
    MU_CLEANUP(buffer_free) struct buffer request = {0};
    enum mu_status status = nsm_decode_response((struct bytes){data, size}, &document, &err);

    /* NSM's error codes say what kind of failure it is. */
    fuzz_outcome(status, &err,
                 1u << MU_REFUSE | 1u << MU_RETRY | 1u << MU_CONFIG | 1u << MU_INTERNAL);
    fuzz_outcome(nsm_encode_request(&fields, &request, &err), &err, 1u << MU_USAGE);
    /* The TPM takes long: seldom for what is no answer. */
    if (size > 0 && size <= AREA && (status == MU_OK || size % 8 == 0))
        attest((struct bytes){data, size}, buffer_view(&document));
    return 0;
}
