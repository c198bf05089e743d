/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pthread.h>

#include "image.h"
#include "test.h"
#include "volume/device.h"
#include "volume/open.h"

static const char *image;

void before_each(void)
{
    image = temp_path("image");
    assert_int_equal(image_make(image, "xts-plain64", 64), 0);
}

/* Only the copy counts: between reading the header and opening, the device loses all it had. */
TEST(test_open)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};
    MU_CLEANUP(secret_free) struct secret right = secret_text(IMAGE_PASSPHRASE);
    MU_CLEANUP(secret_free) struct secret wrong = secret_text("correct house");
    MU_CLEANUP(secret_free) struct secret volume_key = {0};

    assert_int_equal(luks_header_load(image, &header, &err), MU_OK);
    assert_int_equal(luks_header_check(&header, NULL, &err), MU_OK);
    assert_int_equal(luks_header_load_keyslot(&header, 0, &err), MU_OK);
    assert_int_equal(truncate(image, 0), 0);
    assert_int_equal(truncate(image, 3 << 20), 0);
    assert_int_equal(volume_open_keyslot(&header, 0, &wrong, &volume_key, &err), MU_REFUSE);
    assert_int_equal(volume_open_keyslot(&header, 1, &right, &volume_key, &err), MU_REFUSE);
    assert_null(volume_key.data);
    if (volume_open_keyslot(&header, 0, &right, &volume_key, &err) != MU_OK)
        fail_msg("%s", err.text);
    assert_int_equal(volume_key.len, 64);
    assert_false(bytes_all_zero(secret_view(&volume_key)));
}

/* HMAC computed with Python's hmac. */
TEST(test_identity)
{
    MU_CLEANUP(secret_free) struct secret key = {0};
    uint8_t expected[VOLUME_IDENTITY_SIZE];
    uint8_t identity[VOLUME_IDENTITY_SIZE] = {0};

    assert_true(hex_decode("a125968ac9d72a0455409fec216c303dad989b35bb6d4031"
                           "5f859bc960d62b56ab57f78dbdfd0eaf8e14b60964d9f66d",
                           expected, sizeof(expected)));
    assert_int_equal(secret_alloc(&key, 64, &err), MU_OK);
    for (uint8_t i = 0; i < 64; i++)
        key.data[i] = i;
    assert_int_equal(volume_identity(&key, IMAGE_UUID, identity, &err), MU_OK);
    assert_memory_equal(identity, expected, sizeof(expected));
    key.data[63] ^= 1;
    assert_int_equal(volume_identity(&key, IMAGE_UUID, identity, &err), MU_OK);
    assert_memory_not_equal(identity, expected, sizeof(expected));
    key.len = 32;
    assert_int_equal(volume_identity(&key, IMAGE_UUID, identity, &err), MU_INTERNAL);
}

TEST(test_find)
{
    static const char *const bad[] = {"", "sda", "UUID=", "ID=x", "uuid=x", "UUID"};
    MU_CLEANUP(string_free) char *path = NULL;
    const char *link = temp_path("link");

    assert_int_equal(volume_find_device(image, deadline_in(0), &path, &err), MU_OK);
    assert_string_equal(path, image);
    string_free(&path);
    path = NULL;
    assert_int_equal(symlink(image, link), 0);
    assert_int_equal(volume_find_device(link, deadline_in(0), &path, &err), MU_OK);
    assert_string_equal(path, image);
    (void)unlink(link);
    assert_int_equal(volume_find_device("/dev", deadline_in(0), &path, &err), MU_RETRY);
    assert_int_equal(volume_find_device("UUID=" IMAGE_UUID, deadline_in(0), &path, &err), MU_RETRY);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(volume_find_device(bad[i], deadline_in(0), &path, &err), MU_CONFIG);
}

static void *appear(void *path)
{
    (void)usleep(200000);
    return symlink(image, path) == 0 ? path : NULL;
}

TEST(test_find_late)
{
    MU_CLEANUP(string_free) char *path = NULL;
    const char *link = temp_path("late");
    pthread_t thread;
    uint64_t start = clock_now_us();

    assert_int_equal(pthread_create(&thread, NULL, appear, (void *)(uintptr_t)link), 0);
    assert_int_equal(volume_find_device(link, deadline_in(20), &path, &err), MU_OK);
    assert_in_range(clock_now_us() - start, 200000, 15000000);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)unlink(link);
}
