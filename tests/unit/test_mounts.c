/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/mounts.h"
#include "test.h"

static enum mu_status parse(const char *text, struct mounts *ret)
{
    return mounts_parse(text_view(text), ret, &err);
}

TEST(test_fields)
{
    MU_CLEANUP(mounts_free) struct mounts mounts = {0};

    assert_int_equal(parse("1 0 0:2 / / rw - rootfs none rw\n"
                           "30 1 254:1 /a /mnt/a\\040b\\011\\134x rw shared:1 master:2 - ext4 "
                           "/dev/mapper/a\\040b rw,x\n",
                           &mounts),
                     MU_OK);
    assert_int_equal(mounts.count, 2);
    assert_string_equal(mounts.mount[0].point, "/");
    assert_string_equal(mounts.mount[0].type, "rootfs");
    assert_string_equal(mounts.mount[1].point, "/mnt/a b\t\\x");
    assert_string_equal(mounts.mount[1].type, "ext4");
    assert_string_equal(mounts.mount[1].source, "/dev/mapper/a b");
}

/* A file system of FUSE names its own source: only the fields before it are sure. */
TEST(test_odd_fields)
{
    MU_CLEANUP(mounts_free) struct mounts mounts = {0};

    assert_int_equal(parse("1 0 0:2 / /\\999 rw - tmpfs  rw", &mounts), MU_OK);
    assert_string_equal(mounts.mount[0].point, "/\\999");
    assert_string_equal(mounts.mount[0].source, "");
}

TEST(test_bad_lines)
{
    static const char *const bad[] = {"x", "1 0 0:2 /", "1 0 0:2 / / rw", "1 0 0:2 / / rw - tmpfs",
                                      "1 0 0:2 / / rw - tmpfs none rw\n\n"};
    struct mounts mounts = {0};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(parse(bad[i], &mounts), MU_INTERNAL);
    assert_int_equal(parse("", &mounts), MU_OK);
    assert_int_equal(mounts.count, 0);
    mounts_free(&mounts);
}
