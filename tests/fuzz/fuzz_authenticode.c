/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PE images: the Authenticode digest, sections, the certificate table, and the prediction. */
#include "build/authenticode.h"
#include "build/pe.h"

#include <string.h>

#include "build/predict.h"
#include "fuzz.h"

static bool within(struct bytes part, struct bytes whole)
{
    return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

static void predicted(struct bytes image)
{
    struct predict_request request = {.bank = HASH_SHA384,
                                      .mask = PCR_BIT(4) | PCR_BIT(11) | PCR_BIT(12),
                                      .images = &image,
                                      .count = 1,
                                      .phases = EVENTLOG_PHASES};
    struct pcr_values values;
    struct mu_error err = {0};
    enum mu_status status = predict_values(&request, &values, &err);

    fuzz_outcome(status, &err, 1u << MU_CONFIG);
    fuzz_require(status != MU_OK || values.mask == request.mask, "what was asked for");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum hash_alg algs[] = {HASH_SHA256, HASH_SHA384, HASH_NONE};
    static const char *const names[] = {".linux", ".cmdline", ".text"};
    struct bytes image = {data, size}, part;
    struct mu_error err = {0};
    struct digest digest;
    enum mu_status status = MU_CONFIG;

    for (size_t i = 0; i < 3; i++) {
        status = authenticode_hash(image, algs[i], &digest, &err);
        fuzz_outcome(status, &err, 1u << MU_CONFIG);
        fuzz_require(status != MU_OK || algs[i] != HASH_NONE, "no digest without an algorithm");
    }
    for (size_t i = 0; i < 3; i++) {
        struct buffer spare = {0};

        status = pe_section(image, names[i], &spare, &part, &err);
        fuzz_outcome(status, &err, 1u << MU_CONFIG);
        fuzz_require(status != MU_OK || part.len == 0 || spare.len > 0 || within(part, image),
                     "a section within");
        buffer_free(&spare);
    }
    status = pe_certificates(image, &part, &err);
    fuzz_outcome(status, &err, 1u << MU_CONFIG);
    fuzz_require(status != MU_OK || part.len == 0 || within(part, image), "certificates within");
    predicted(image);
    return 0;
}
