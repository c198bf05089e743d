/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "image.h"
#include "volume/volume.h"

static char image[] = IMAGE_TEMPLATE;

static int setup(void **state)
{
    int fd;

    (void)state;
    fd = mkstemp(image);
    return fd < 0 || close(fd) != 0 || image_make(image, "xts-plain64", 64) != 0 ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink(image);
    memcpy(image + strlen(image) - 6, "XXXXXX", 6);
    return 0;
}

/* Only the copy counts: between reading the header and opening, the device loses all it had. */
static void test_open(void **state)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};
    MU_CLEANUP(secret_free) struct secret right = secret_text(IMAGE_PASSPHRASE);
    MU_CLEANUP(secret_free) struct secret wrong = secret_text("correct house");
    MU_CLEANUP(secret_free) struct secret volume_key = {0};
    struct mu_error err = {0};

    (void)state;
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
static void test_identity(void **state)
{
    MU_CLEANUP(secret_free) struct secret key = {0};
    uint8_t expected[VOLUME_IDENTITY_SIZE];
    uint8_t identity[VOLUME_IDENTITY_SIZE] = {0};
    struct mu_error err = {0};

    (void)state;
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

static void test_find(void **state)
{
    static const char *const bad[] = {"", "sda", "UUID=", "ID=x", "uuid=x", "UUID"};
    MU_CLEANUP(string_free) char *path = NULL;
    struct mu_error err = {0};
    char link[sizeof(image) + 5];

    (void)state;
    assert_int_equal(volume_find_device(image, deadline_in(0), &path, &err), MU_OK);
    assert_string_equal(path, image);
    string_free(&path);
    path = NULL;
    (void)snprintf(link, sizeof(link), "%s.link", image);
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

static void test_find_late(void **state)
{
    MU_CLEANUP(string_free) char *path = NULL;
    char link[sizeof(image) + 5];
    struct mu_error err = {0};
    pthread_t thread;
    uint64_t start = now_us();

    (void)state;
    (void)snprintf(link, sizeof(link), "%s.late", image);
    assert_int_equal(pthread_create(&thread, NULL, appear, link), 0);
    assert_int_equal(volume_find_device(link, deadline_in(20), &path, &err), MU_OK);
    assert_in_range(now_us() - start, 200000, 15000000);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)unlink(link);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open, setup, teardown),
        cmocka_unit_test(test_identity),
        cmocka_unit_test_setup_teardown(test_find, setup, teardown),
        cmocka_unit_test_setup_teardown(test_find_late, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
