/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/file.h"
#include "image.h"
#include "test.h"
#include "volume/luks_header.h"

/* Whole policies are tried out in tests/integration/test_header.py; here is what it takes to read
 * a header at all, and the copy. */

#define HEADER_SIZE 16384

static const char *image;

static void write_image(struct bytes content)
{
    assert_int_equal(file_write(image, content, 0600, &err), MU_OK);
}

static struct buffer read_image(void)
{
    struct buffer content = {0};

    assert_int_equal(file_read(image, 8 << 20, &content, &err), MU_OK);
    return content;
}

void before_each(void)
{
    image = temp_path("image");
    assert_int_equal(image_make(image, "xts-plain64", 64), 0);
}

TEST(test_good)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};
    struct header_report report = {0};
    json_object *token = NULL;

    assert_int_equal(luks_header_load(image, &header, &err), MU_OK);
    assert_string_equal(header.device, image);
    assert_string_equal(header.uuid, IMAGE_UUID);
    assert_int_equal(header.geometry.device_size, 3 << 20);
    assert_int_equal(header.header_size, HEADER_SIZE);
    assert_int_equal(header.keyslots_size, 4 * 258048);
    assert_int_equal(header.geometry.data_offset, 2 << 20);
    if (luks_header_check(&header, &report, &err) != MU_OK)
        fail_msg("%s", err.text);
    assert_true(report.count > 20);
    for (size_t i = 0; i < report.count; i++)
        assert_true(report.rule[i].ok);
    assert_int_equal(luks_header_record_token(&header, &token, &err), MU_REFUSE);
}

TEST(test_cipher)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};
    struct header_report report = {0};

    assert_int_equal(image_make(image, "cbc-essiv:sha256", 32), 0);
    assert_int_equal(luks_header_load(image, &header, &err), MU_OK);
    assert_int_equal(luks_header_check(&header, &report, &err), MU_REFUSE);
    assert_non_null(strstr(err.text, "segment-cipher"));
    for (size_t i = 0; i < report.count; i++)
        assert_int_equal(report.rule[i].ok,
                         strcmp(report.rule[i].name, "segment-cipher") != 0 &&
                             strcmp(report.rule[i].name, "keyslot-cipher") != 0 &&
                             strcmp(report.rule[i].name, "keyslot-key-size") != 0 &&
                             strcmp(report.rule[i].name, "keyslot-area") != 0);
}

TEST(test_truncated)
{
    MU_CLEANUP(buffer_free) struct buffer content = read_image();
    struct luks_header header = {0};

    for (size_t len = 0; len < 2 * HEADER_SIZE; len += len < 600 ? 1 : 509) {
        write_image((struct bytes){content.data, len});
        assert_int_equal(luks_header_load(image, &header, &err), MU_REFUSE);
    }
}

/* Any change of one bit is found in either copy, first and last byte and padding included. */
TEST(test_every_byte)
{
    MU_CLEANUP(buffer_free) struct buffer content = read_image();
    struct luks_header header = {0};
    int fd = open(image, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    for (size_t at = 0; at < 2 * HEADER_SIZE; at += at % HEADER_SIZE < 1024 ? 1 : 61) {
        uint8_t byte = content.data[at] ^ 0x20;

        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        if (luks_header_load(image, &header, &err) != MU_REFUSE)
            fail_msg("accepted with byte %zu changed", at);
        assert_int_equal(pwrite(fd, content.data + at, 1, (off_t)at), 1);
    }
    (void)close(fd);
    assert_int_equal(luks_header_load(image, &header, &err), MU_OK);
    luks_header_free(&header);
}

TEST(test_no_device)
{
    struct luks_header header = {0};

    assert_int_equal(luks_header_load("/nonexistent", &header, &err), MU_RETRY);
    assert_int_equal(luks_header_load("/dev/null", &header, &err), MU_CONFIG);
    assert_int_equal(luks_header_load("/tmp", &header, &err), MU_CONFIG);
}

TEST(test_primary_gone)
{
    MU_CLEANUP(buffer_free) struct buffer content = read_image();
    struct luks_header header = {0};

    memset(content.data, 0, 4096);
    write_image(buffer_view(&content));
    assert_int_equal(luks_header_load(image, &header, &err), MU_REFUSE);
    assert_non_null(strstr(err.text, "16384"));
}

/* The copy holds both headers and one area, cannot be written any more, and does not follow the
 * device. */
TEST(test_copy)
{
    MU_CLEANUP(buffer_free) struct buffer content = read_image();
    MU_CLEANUP(buffer_free) struct buffer copied = {0};
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};
    char path[64];

    assert_int_equal(luks_header_load(image, &header, &err), MU_OK);
    assert_int_equal(luks_header_load_keyslot(&header, 1, &err), MU_REFUSE);
    assert_int_equal(luks_header_load_keyslot(&header, 0, &err), MU_OK);
    assert_int_equal(pwrite(header.memfd, "x", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(header.memfd, 0), -1);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", header.memfd);
    assert_int_equal(file_read(path, 8 << 20, &copied, &err), MU_OK);
    assert_int_equal(copied.len, 2 * HEADER_SIZE + 4 * 258048);
    assert_memory_equal(copied.data, content.data, 2 * HEADER_SIZE + 258048);
    assert_true(bytes_all_zero((struct bytes){copied.data + 2 * HEADER_SIZE + 258048, 3 * 258048}));
}

static const struct header_rule *rule_named(const struct header_report *report, const char *name)
{
    for (size_t i = 0; i < report->count; i++)
        if (strcmp(report->rule[i].name, name) == 0)
            return &report->rule[i];
    fail_msg("no rule %s", name);
    return NULL;
}

/* More key slots than LUKS2 has are not compared with each other: that took hours at boot. */
TEST(test_many_keyslots)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};
    json_object *slots, *digest, *list, *first, *copy;
    struct header_report report = {0};
    char name[16];

    assert_int_equal(luks_header_load(image, &header, &err), MU_OK);
    slots = json_object_object_get(header.json, "keyslots");
    digest = json_object_object_get(json_object_object_get(header.json, "digests"), "0");
    list = json_object_object_get(digest, "keyslots");
    first = json_object_object_get(slots, "0");
    for (int i = 1; i <= LUKS_KEYSLOTS_MAX; i++) {
        copy = NULL;
        (void)snprintf(name, sizeof(name), "%d", i);
        assert_int_equal(json_object_deep_copy(first, &copy, NULL), 0);
        assert_int_equal(json_object_object_add(slots, name, copy), 0);
        assert_int_equal(json_object_array_add(list, json_object_new_string(name)), 0);
    }
    assert_int_equal(luks_header_check(&header, &report, &err), MU_REFUSE);
    assert_non_null(strstr(rule_named(&report, "keyslot-overlap")->detail, "more than 32"));
    assert_non_null(strstr(rule_named(&report, "digest-links")->detail, "more than 32"));
}

TEST(test_numbers)
{
    static const char *const bad[] = {
        "", "00", "01", "-1", "+1", " 1", "1 ", "1.", "0x1", "a", "18446744073709551616"};
    uint64_t value = 0;

    assert_true(luks_number("0", &value));
    assert_int_equal(value, 0);
    assert_true(luks_number("16777216", &value));
    assert_int_equal(value, 16777216);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(luks_number(bad[i], &value));
}
