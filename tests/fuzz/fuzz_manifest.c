/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Manifests of images. The input is one statement or two, with a zero byte between them; the target
 * signs the first as a builder, so that the fuzzer is behind the signature, and combines both. The
 * same bytes are also read as a whole envelope. */
#include "appraise/manifest.h"

#include <string.h>

#include "build/manifest.h"
#include "fuzz.h"
#include "measure/baseline.h"

/* What a builder signs is read as if it were not signed; nobody else's key opens it. */
static void check_signed(struct bytes statement, enum mu_status plain, const struct manifest *same)
{
    const struct signer signer = {.from = "", .key = fuzz_builder_key()};
    const struct public_keys keys = {{fuzz_builder_key()}, 1}, others = {{fuzz_leaf_key()}, 1};
    MU_CLEANUP(json_free) json_object *envelope = NULL;
    MU_CLEANUP(manifest_free) struct manifest opened = {0};
    MU_CLEANUP(manifest_free) struct manifest never = {0};
    struct mu_error err = {0};
    enum mu_status status;

    fuzz_require(manifest_sign(&signer, statement, &envelope, &err) == MU_OK, "it is signed");
    status = manifest_open(text_view(json_text(envelope)), "it", &keys, &opened, &err);
    fuzz_require(status == plain || statement.len == 0, "a signature that holds changes nothing");
    fuzz_require(status != MU_OK || strcmp(opened.id, same->id) == 0, "it is the same");
    status = manifest_open(text_view(json_text(envelope)), "it", &others, &never, &err);
    fuzz_require(status == MU_REFUSE || statement.len == 0, "the key decides");
}

static enum mu_status check_start(const struct manifest *image, const struct manifest *loader,
                                  const struct pcr_values *values, void *context,
                                  struct mu_error *err)
{
    struct mu_error incomplete = {0};

    (void)err;
    ++*(size_t *)context;
    fuzz_require(image->kind == MANIFEST_IMAGE, "an image is started");
    fuzz_require(loader == NULL || (image->any_loader && loader->kind == MANIFEST_BOOT_LOADER),
                 "by a boot loader, if it may");
    fuzz_require(values->mask == image->values[MANIFEST_SHA384].mask, "with the PCRs of the image");
    fuzz_require(baseline_check_complete(values, PCR_COUNT, &incomplete) == MU_OK || loader != NULL,
                 "which tell images apart");
    return MU_OK;
}

static void check_envelope(struct bytes input)
{
    const struct public_keys keys = {{fuzz_builder_key()}, 1};
    MU_CLEANUP(manifest_free) struct manifest manifest = {0};
    struct mu_error err = {0};

    fuzz_outcome(manifest_open(input, "it", &keys, &manifest, &err), &err,
                 1u << MU_REFUSE | 1u << MU_CONFIG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
    size_t len = zero != NULL ? (size_t)(zero - data) : size;
    const struct bytes first = {data, len};
    const struct bytes second = {data + len, size - len};
    MU_CLEANUP(manifest_free) struct manifest one = {0};
    MU_CLEANUP(manifest_free) struct manifest two = {0};
    const struct manifest *const list[] = {&one, &two};
    struct mu_error err = {0};
    enum mu_status status = manifest_parse(first, &one, &err);
    size_t starts = 0, count;

    fuzz_outcome(status, &err, 1u << MU_CONFIG);
    check_signed(first, status, &one);
    check_envelope((struct bytes){data, size});
    if (status != MU_OK)
        return 0;
    count = zero != NULL && manifest_parse((struct bytes){second.data + 1, second.len - 1}, &two,
                                           &err) == MU_OK
                ? 2
                : 1;
    fuzz_require(manifest_combine(list, count, MANIFEST_SHA384, check_start, &starts, &err) ==
                     MU_OK,
                 "what was read can be combined");
    fuzz_require(starts >= (size_t)(one.kind == MANIFEST_IMAGE) && starts <= 2 * count,
                 "each image starts");
    return 0;
}
