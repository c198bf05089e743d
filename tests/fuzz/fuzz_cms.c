/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KMS's CiphertextForRecipient. */
#include "release/cms.h"

#include <openssl/err.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MU_CLEANUP(secret_free) struct secret key = {0};
    struct mu_error err = {0};
    enum mu_status status = cms_decrypt((struct bytes){data, size}, fuzz_rsa_key(), 32, &key, &err);

    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    fuzz_require(status == MU_OK ? key.len == 32 : key.data == NULL, "32 bytes or nothing");
    fuzz_require(ERR_peek_error() == 0, "OpenSSL's queue is empty");
    return 0;
}
