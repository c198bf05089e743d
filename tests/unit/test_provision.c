/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "volume/create.h"
#include "volume/luks_make.h"
#include "volume/volume.h"

#define SIZE (33 << 20)
#define PAST ((struct deadline){.at_us = UINT64_MAX})

/* A blank image file, and what a volume on it needs. */
struct site {
    char path[32];
    struct blank blank;
    struct record record;
    struct secret volume_key, key;
};

static int begin(void **state)
{
    struct site *s = calloc(1, sizeof(*s));
    struct mu_error err = {0};
    int fd;

    assert_non_null(s);
    strcpy(s->path, "/tmp/test-create-XXXXXX");
    fd = mkstemp(s->path);
    assert_true(fd >= 0 && ftruncate(fd, SIZE) == 0);
    close(fd);
    assert_int_equal(blank_open(s->path, PAST, &s->blank, &err), MU_OK);
    assert_int_equal(create_identity(&s->record, &s->volume_key, &err), MU_OK);
    assert_int_equal(secret_random(&s->key, 32, &err), MU_OK);
    strcpy(s->record.provider, "aws-kms");
    s->record.provider_data = json_tokener_parse("{\"key_arn\":\"arn\"}");
    *state = s;
    return 0;
}

static int end(void **state)
{
    struct site *s = *state;

    blank_close(&s->blank);
    record_free(&s->record);
    secret_free(&s->volume_key);
    secret_free(&s->key);
    unlink(s->path);
    free(s);
    return 0;
}

static void create(struct site *s)
{
    struct mu_error err = {0};

    assert_int_equal(s->blank.state, BLANK_EMPTY);
    assert_int_equal(create_volume(s->path, &s->blank, &s->record, &s->volume_key, &s->key, &err),
                     MU_OK);
    assert_int_equal(s->blank.fd, -1);
}

static void test_it_opens(void **state)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {.memfd = -1};
    MU_CLEANUP(record_free) struct record record = {0};
    MU_CLEANUP(secret_free) struct secret volume_key = {0};
    MU_CLEANUP(secret_free) struct secret other = {0};
    struct site *s = *state;
    struct mu_error err = {0};
    json_object *token = NULL;

    create(s);
    assert_int_equal(blank_open(s->path, PAST, &s->blank, &err), MU_OK);
    assert_int_equal(s->blank.state, BLANK_LUKS);
    assert_int_equal(luks_header_load(s->path, &header, &err), MU_OK);
    assert_int_equal(luks_header_check(&header, NULL, &err), MU_OK);
    assert_int_equal(header.data_offset, LUKS_MAKE_DATA_OFFSET);
    assert_string_equal(header.uuid, s->record.volume_uuid);
    assert_int_equal(luks_header_record_token(&header, &token, &err), MU_OK);
    assert_true(record_token_by_instance(token));
    assert_int_equal(record_parse_instance_token(token, &record, &err), MU_OK);
    assert_int_equal(record_check(&record, header.uuid, 1, &err), MU_OK);
    assert_int_equal(record_check_mac(&record, &s->key, &err), MU_OK);
    assert_int_equal(secret_random(&other, 32, &err), MU_OK);
    assert_int_equal(record_check_mac(&record, &other, &err), MU_REFUSE);
    assert_int_equal(luks_header_load_keyslot(&header, 0, &err), MU_OK);
    assert_int_equal(volume_open_keyslot(&header, 0, &other, &volume_key, &err), MU_REFUSE);
    assert_int_equal(volume_open_keyslot(&header, 0, &s->key, &volume_key, &err), MU_OK);
    assert_true(bytes_equal(secret_view(&volume_key), secret_view(&s->volume_key)));
}

/* Any other payload is refused by the parser or by the MAC. */
static void test_every_byte_of_the_record(void **state)
{
    MU_CLEANUP(string_free) char *text = NULL;
    MU_CLEANUP(json_free) json_object *token = NULL;
    MU_CLEANUP(buffer_free) struct buffer payload = {0};
    struct site *s = *state;
    struct mu_error err = {0};
    json_object *member = NULL;
    unsigned by_mac = 0;

    assert_int_equal(record_make_instance_token(&s->record, &s->key, &text, &err), MU_OK);
    token = json_tokener_parse(text);
    assert_true(json_object_object_get_ex(token, "record", &member));
    assert_int_equal(base64_decode(json_object_get_string(member), 8192, &payload, &err), MU_OK);
    for (size_t i = 0; i < payload.len; i++) {
        MU_CLEANUP(record_free) struct record record = {0};
        MU_CLEANUP(string_free) char *changed = NULL;

        payload.data[i] ^= 1;
        assert_int_equal(base64_encode(buffer_view(&payload), &changed, &err), MU_OK);
        payload.data[i] ^= 1;
        json_object_object_add(token, "record", json_object_new_string(changed));
        if (record_parse_instance_token(token, &record, &err) != MU_OK) {
            assert_int_equal(err.status, MU_REFUSE);
            continue;
        }
        by_mac++;
        assert_int_equal(record_check_mac(&record, &s->key, &err), MU_REFUSE);
    }
    assert_true(by_mac > 100); /* the identity's digits alone */
}

static void test_tokens(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"type\":\"measured-unlock\",\"keyslots\":[\"0\"],\"mac\":\"AA==\"}",
        "{\"type\":\"measured-unlock\",\"keyslots\":[\"0\"],\"record\":\"e30=\",\"mac\":\"AA==\"}",
        ("{\"type\":\"measured-unlock\",\"keyslots\":[\"0\"],\"record\":\"e30=\",\"mac\":\"AA==\","
         "\"signature\":\"AA==\"}"),
    };
    struct mu_error err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        MU_CLEANUP(json_free) json_object *token = json_tokener_parse(bad[i]);
        struct record record = {0};

        assert_int_equal(record_parse_instance_token(token, &record, &err), MU_REFUSE);
        assert_int_equal(record_parse_token_unverified(token, &record, &err), MU_REFUSE);
    }
}

static void poke(const char *path, off_t offset, const char *text)
{
    int fd = open(path, O_WRONLY);

    assert_true(fd >= 0 && pwrite(fd, text, strlen(text), offset) == (ssize_t)strlen(text));
    close(fd);
}

static void test_what_is_not_blank(void **state)
{
    static const off_t places[] = {0, 511, 4095, 4096, 32768, 1 << 20, SIZE - 1};
    struct site *s = *state;

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct blank blank = {.fd = -1};
        struct mu_error err = {0};

        poke(s->path, places[i], "x");
        assert_int_equal(blank_open(s->path, PAST, &blank, &err), MU_REFUSE);
        assert_int_equal(blank.fd, -1);
        assert_int_equal(truncate(s->path, places[i] / 4096 * 4096), 0);
        assert_int_equal(truncate(s->path, SIZE), 0);
    }
}

static void test_claim(void **state)
{
    uint8_t claim[BLANK_CLAIM_SIZE];
    struct site *s = *state;
    struct blank blank = {.fd = -1};
    struct mu_error err = {0};

    blank_claim(claim);
    poke(s->path, 0, (const char *)claim);
    poke(s->path, 4096, "{\"keyslots\":");
    assert_int_equal(blank_open(s->path, PAST, &blank, &err), MU_OK);
    assert_int_equal(blank.state, BLANK_CLAIMED);
    blank_close(&blank);
    poke(s->path, 4096, "\xfc\x4e\x2b\xa9");
    assert_int_equal(blank_open(s->path, PAST, &blank, &err), MU_REFUSE);
}

static void test_deadline(void **state)
{
    struct site *s = *state;
    struct blank blank = {.fd = -1};
    struct mu_error err = {0};

    assert_int_equal(blank_open(s->path, (struct deadline){0}, &blank, &err), MU_RETRY);
    assert_int_equal(blank_open("/nowhere", PAST, &blank, &err), MU_RETRY);
    assert_int_equal(blank_open("/dev/null", PAST, &blank, &err), MU_REFUSE);
}

static void test_what_is_not_known_to_be_blank_is_not_written(void **state)
{
    struct site *s = *state;
    struct mu_error err = {0};

    s->blank.state = BLANK_LUKS;
    assert_int_equal(create_volume(s->path, &s->blank, &s->record, &s->volume_key, &s->key, &err),
                     MU_INTERNAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_it_opens),
        TEST(test_every_byte_of_the_record),
        TEST(test_tokens),
        TEST(test_what_is_not_blank),
        TEST(test_claim),
        TEST(test_deadline),
        TEST(test_what_is_not_known_to_be_blank_is_not_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
