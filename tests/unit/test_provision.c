/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>

#include "test.h"
#include "volume/luks_format.h"
#include "volume/open.h"
#include "volume/provision.h"

#define SIZE (33 << 20)
#define PAST ((struct deadline){.at_us = UINT64_MAX})

/* A blank image file, and what a volume on it needs. */
static struct {
    const char *path;
    struct blank blank;
    struct record record;
    struct secret volume_key, key;
} s;

void before_each(void)
{
    FILE *f;

    memset(&s, 0, sizeof(s));
    s.path = temp_path("volume");
    f = fopen(s.path, "w");
    assert_non_null(f);
    assert_int_equal(ftruncate(fileno(f), SIZE), 0);
    (void)fclose(f);
    assert_int_equal(blank_open(s.path, PAST, &s.blank, &err), MU_OK);
    assert_int_equal(provision_record("data", &s.blank, &s.record, &s.volume_key, &err), MU_OK);
    assert_int_equal(secret_random(&s.key, 32, &err), MU_OK);
    strcpy(s.record.provider, "aws-kms");
    s.record.provider_data = json_tokener_parse("{\"keys\":[]}");
}

void after_each(void)
{
    blank_free(&s.blank);
    record_free(&s.record);
    secret_free(&s.volume_key);
    secret_free(&s.key);
}

static void create(void)
{
    assert_int_equal(s.blank.state, BLANK_EMPTY);
    assert_int_equal(provision_volume(&s.blank, &s.record, &s.volume_key, &s.key, &err), MU_OK);
    assert_int_equal(s.blank.fd, -1);
}

TEST(test_it_opens)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {.memfd = -1};
    MU_CLEANUP(record_free) struct record record = {0};
    MU_CLEANUP(secret_free) struct secret volume_key = {0};
    MU_CLEANUP(secret_free) struct secret other = {0};
    json_object *token = NULL;

    create();
    blank_free(&s.blank);
    assert_int_equal(blank_open(s.path, PAST, &s.blank, &err), MU_OK);
    assert_int_equal(s.blank.state, BLANK_LUKS);
    assert_int_equal(luks_header_load(s.path, &header, &err), MU_OK);
    assert_int_equal(luks_header_check(&header, NULL, &err), MU_OK);
    assert_int_equal(header.geometry.data_offset, LUKS_DATA_OFFSET);
    assert_string_equal(header.uuid, s.record.volume_uuid);
    assert_int_equal(luks_header_record_token(&header, &token, &err), MU_OK);
    assert_true(record_token_by_instance(token));
    assert_int_equal(record_parse_instance_token(token, &record, &err), MU_OK);
    assert_int_equal(record_check(&record, header.uuid, 1, &err), MU_OK);
    assert_int_equal(record_check_name(&record, "data", &err), MU_OK);
    assert_int_equal(record_check_geometry(&record, &header.geometry, &err), MU_OK);
    assert_int_equal(record.geometry.device_size, SIZE);
    assert_int_equal(record_check_mac(&record, &s.key, &err), MU_OK);
    assert_int_equal(secret_random(&other, 32, &err), MU_OK);
    assert_int_equal(record_check_mac(&record, &other, &err), MU_REFUSE);
    assert_int_equal(luks_header_load_keyslot(&header, 0, &err), MU_OK);
    assert_int_equal(volume_open_keyslot(&header, 0, &other, &volume_key, &err), MU_REFUSE);
    assert_int_equal(volume_open_keyslot(&header, 0, &s.key, &volume_key, &err), MU_OK);
    assert_true(bytes_equal(secret_view(&volume_key), secret_view(&s.volume_key)));
}

/* Any other payload is refused by the parser or by the MAC. */
TEST(test_every_byte_of_the_record)
{
    MU_CLEANUP(string_free) char *text = NULL;
    MU_CLEANUP(json_free) json_object *token = NULL;
    MU_CLEANUP(buffer_free) struct buffer payload = {0};
    json_object *member = NULL;
    unsigned by_mac = 0;

    assert_int_equal(record_make_instance_token(&s.record, &s.key, &text, &err), MU_OK);
    token = json_tokener_parse(text);
    assert_true(json_object_object_get_ex(token, "record", &member));
    assert_int_equal(base64_decode(json_object_get_string(member), 8192, MU_CONFIG, &payload, &err),
                     MU_OK);
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
        assert_int_equal(record_check_mac(&record, &s.key, &err), MU_REFUSE);
    }
    assert_true(by_mac > 100); /* the identity's digits alone */
}

TEST(test_tokens)
{
    static const char *const bad[] = {
        "{}",
        "{\"type\":\"measured-unlock\",\"keyslots\":[\"0\"],\"mac\":\"AA==\"}",
        "{\"type\":\"measured-unlock\",\"keyslots\":[\"0\"],\"record\":\"e30=\",\"mac\":\"AA==\"}",
        ("{\"type\":\"measured-unlock\",\"keyslots\":[\"0\"],\"record\":\"e30=\",\"mac\":\"AA==\","
         "\"signature\":\"AA==\"}"),
    };

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

TEST(test_what_is_not_blank)
{
    static const off_t places[] = {0, 511, 4095, 4096, 32768, 1 << 20, SIZE - 1};

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct blank blank = {.fd = -1};

        poke(s.path, places[i], "x");
        assert_int_equal(blank_open(s.path, PAST, &blank, &err), MU_REFUSE);
        assert_int_equal(blank.fd, -1);
        assert_int_equal(truncate(s.path, places[i] / 4096 * 4096), 0);
        assert_int_equal(truncate(s.path, SIZE), 0);
    }
}

TEST(test_claim)
{
    uint8_t claim[BLANK_CLAIM_SIZE];
    struct blank blank = {.fd = -1};

    blank_claim(claim);
    poke(s.path, 0, (const char *)claim);
    poke(s.path, 4096, "{\"keyslots\":");
    assert_int_equal(blank_open(s.path, PAST, &blank, &err), MU_OK);
    assert_int_equal(blank.state, BLANK_CLAIMED);
    blank_free(&blank);
    poke(s.path, 4096, "\xfc\x4e\x2b\xa9");
    assert_int_equal(blank_open(s.path, PAST, &blank, &err), MU_REFUSE);
}

TEST(test_deadline)
{
    struct blank blank = {.fd = -1};

    assert_int_equal(blank_open(s.path, (struct deadline){0}, &blank, &err), MU_RETRY);
    assert_int_equal(blank_open("/nowhere", PAST, &blank, &err), MU_RETRY);
    assert_int_equal(blank_open("/dev/null", PAST, &blank, &err), MU_REFUSE);
}

TEST(test_what_is_not_known_to_be_blank_is_not_written)
{

    s.blank.state = BLANK_LUKS;
    assert_int_equal(provision_volume(&s.blank, &s.record, &s.volume_key, &s.key, &err),
                     MU_INTERNAL);
}
