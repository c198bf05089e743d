/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The initramfs that doctor looks into: cpio archives, alone or in a UKI. 'Z' and one byte stand
 * for what a decompressor puts out; whether it found fault afterwards, and whether something
 * follows that, is in the byte. */
#include "build/initramfs.h"

#include <string.h>

#include "build/unpack.h"
#include "fuzz.h"

bool __wrap_unpack_knows(struct bytes data);
bool __wrap_unpack_knows(struct bytes data)
{
    return data.len >= 2 && data.data[0] == 'Z';
}

enum mu_status __wrap_unpack_first(struct bytes data, size_t max, struct buffer *ret,
                                   size_t *ret_used, bool *ret_whole, struct mu_error *err);
enum mu_status __wrap_unpack_first(struct bytes data, size_t max, struct buffer *ret,
                                   size_t *ret_used, bool *ret_whole, struct mu_error *err)
{
    if (data.data[1] == '!')
        return mu_fail(err, MU_CONFIG, "the program is not installed");
    fuzz_require(data.len <= max, "within the limit");
    *ret_whole = data.data[1] != '?';
    *ret_used = data.data[1] >= '0' && data.data[1] <= '9' ? 2 + (data.len - 2) / 2 : data.len;
    return buffer_copy(ret, (struct bytes){data.data + 2, *ret_used - 2}, err);
}

static bool within(struct bytes part, struct bytes whole)
{
    return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

static bool within_image(struct bytes part, const struct initramfs *image)
{
    bool found = within(part, buffer_view(&image->file)) || within(part, image->initrd);

    for (size_t i = 0; i < image->parts; i++)
        found = found || within(part, buffer_view(&image->unpacked[i]));
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"etc/a", "usr/lib/a", "link", "/", ""};
    MU_CLEANUP(initramfs_free) struct initramfs image = {0};
    struct bytes content = {0};
    struct mu_error err = {0};
    char path[FUZZ_PATH_SIZE];
    enum mu_status status;

    fuzz_file((struct bytes){data, size}, size, path);
    status = initramfs_load(path, &image, &err);
    fuzz_outcome(status, &err, 1u << MU_CONFIG);
    if (status != MU_OK)
        return 0;
    fuzz_require(image.entries > 0 || image.unseen.status != MU_OK, "there are files");
    fuzz_require((image.unseen.status != MU_OK) == (image.cure != NULL),
                 "what is wrong has a cure");
    for (size_t i = 1; i < image.profiles; i++) {
        MU_CLEANUP(initramfs_free) struct initramfs other = {0};

        status = initramfs_profile(&image, i, &other, &err);
        fuzz_outcome(status, &err, 1u << MU_CONFIG);
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (initramfs_content(&image, names[i], &content))
            fuzz_require(content.len == 0 || within_image(content, &image),
                         "the content is in the file");
        (void)initramfs_is_link(&image, names[i], "etc/a");
    }
    for (size_t i = 0; i < image.entries && i < 64; i++)
        (void)initramfs_content(&image, image.entry[i].name, &content);
    return 0;
}
