/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Secure Boot variables and the signatures of an image. Input:
 *   which: u8, length of db: be16, db, length of dbx: be16, dbx, image
 * The image is the rest of the input, or one of the tree's where `which` says so: bit 0 direct.efi,
 * bit 1 issued.efi; then the rest of the input alters it: (offset: be16, byte)... */
#include "build/secureboot.h"

#include <string.h>

#include "fuzz.h"

static void text_holds(const char *text, size_t cap)
{
    fuzz_require(strlen(text) < cap, "the text fits");
    for (const char *c = text; *c != '\0'; c++)
        fuzz_require((uint8_t)*c >= 0x20 && *c != 0x7f, "no control characters");
}

static struct bytes variable(struct bytes file)
{
    struct bytes lists = {0};
    struct mu_error err = {0};
    enum mu_status status = secureboot_variable(file, &lists, &err);
    char to[200];
    struct text text = text_into(to, sizeof(to));

    fuzz_outcome(status, &err, 1u << MU_CONFIG);
    if (!signature_list_describe(&text, file))
        (void)signature_list_describe_entry(&text, file);
    text_holds(to, sizeof(to));
    return status == MU_OK ? lists : (struct bytes){0};
}

static struct buffer image_of(uint8_t which, struct reader *r)
{
    static struct buffer direct, issued;
    const struct buffer *base = (which & 1) != 0 ? &direct : (which & 2) != 0 ? &issued : NULL;
    struct buffer image = {0};
    struct mu_error err = {0};

    if (direct.data == NULL) {
        direct = fuzz_load("tests/data/secureboot/direct.efi");
        issued = fuzz_load("tests/data/secureboot/issued.efi");
    }
    fuzz_require(buffer_copy(&image,
                             base != NULL ? buffer_view(base) : fuzz_take(r, reader_left(r)),
                             &err) == MU_OK,
                 "memory");
    while (base != NULL && reader_left(r) >= 3) {
        size_t at = reader_be16(r);
        uint8_t byte = reader_u8(r);

        if (at < image.len)
            image.data[at] = byte;
    }
    return image;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of((struct bytes){data, size});
    uint8_t which = reader_u8(&r);
    struct secure_boot keys = {0};
    MU_CLEANUP(buffer_free) struct buffer image = {0};
    struct bytes entry = {0};
    struct mu_error err = {0};
    enum mu_status status;

    keys.db = variable(fuzz_take(&r, reader_be16(&r)));
    keys.dbx = variable(fuzz_take(&r, reader_be16(&r)));
    image = image_of(which, &r);
    status = secureboot_authority(&keys, buffer_view(&image), &entry, &err);
    fuzz_outcome(status, &err, 1u << MU_CONFIG | 1u << MU_REFUSE);
    if (status == MU_OK)
        fuzz_require(entry.data >= keys.db.data &&
                         entry.data + entry.len <= keys.db.data + keys.db.len && entry.len > 16,
                     "the authority is an entry of db");
    return 0;
}
