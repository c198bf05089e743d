/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The initramfs that doctor looks into: cpio archives, alone or in a UKI. 'Z' and one byte stand
 * for what a decompressor puts out; whether it found fault afterwards is in the byte. */
#include "ctl/initramfs.h"

#include <string.h>

#include "ctl/unpack.h"
#include "fuzz.h"

bool unpack_knows(struct bytes data)
{
    return data.len >= 2 && data.data[0] == 'Z';
}

enum mu_status unpack(struct bytes data, size_t max, struct buffer *ret, bool *ret_whole,
                      struct mu_error *err)
{
    if (data.data[1] == '!')
        return mu_fail(err, MU_CONFIG, "the program is not installed");
    fuzz_require(data.len <= max, "within the limit");
    *ret_whole = data.data[1] != '?';
    return buffer_copy(ret, (struct bytes){data.data + 2, data.len - 2}, err);
}

static bool within(struct bytes part, struct bytes whole)
{
    return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
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
    fuzz_require(image.entries > 0, "there are files");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (initramfs_content(&image, names[i], &content))
            fuzz_require(content.len == 0 || within(content, buffer_view(&image.file)) ||
                             within(content, buffer_view(&image.unpacked)),
                         "the content is in the file");
        (void)initramfs_is_link(&image, names[i], "etc/a");
    }
    for (size_t i = 0; i < image.entries && i < 64; i++)
        (void)initramfs_content(&image, image.entry[i].name, &content);
    return 0;
}
