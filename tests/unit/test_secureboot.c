/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "made_pe.h"
#include "measure/authenticode.h"
#include "measure/secureboot.h"

/* tests/data/secureboot: direct.efi is signed with the key in db.esl, issued.efi with the key in
 * leaf.esl, whose certificate the key in root.esl has issued and which is in the image. */
static struct buffer ours(const char *name)
{
    struct buffer file = {0};
    struct mu_error err;
    char path[128];

    (void)snprintf(path, sizeof(path), "tests/data/secureboot/%s", name);
    if (file_read(path, 1 << 20, &file, &err) != MU_OK)
        fail_msg("%s", err.text);
    return file;
}

static struct buffer joined(struct bytes a, struct bytes b)
{
    struct buffer both = {malloc(a.len + b.len + 1), a.len + b.len};

    assert_non_null(both.data);
    if (a.len > 0)
        memcpy(both.data, a.data, a.len);
    if (b.len > 0)
        memcpy(both.data + a.len, b.data, b.len);
    return both;
}

/* A list of one SHA-256 digest of the image. */
static struct buffer digest_list(struct bytes image)
{
    static const uint8_t guid[16] = {0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40,
                                     0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28};
    struct buffer list = {calloc(1, 76), 76};
    struct digest digest;
    struct mu_error err;

    assert_non_null(list.data);
    memcpy(list.data, guid, 16);
    put_le(list.data + 16, 76, 4);
    put_le(list.data + 24, 48, 4);
    assert_int_equal(authenticode_hash(image, HASH_SHA256, &digest, &err), MU_OK);
    memcpy(list.data + 44, digest.bytes, 32);
    return list;
}

/* The entry of a list of one. */
static struct bytes entry_of(const struct buffer *list)
{
    return (struct bytes){list->data + 28, list->len - 28};
}

static void expect_entry(struct bytes db, struct bytes image, struct bytes expected)
{
    const struct secure_boot keys = {.db = db};
    struct bytes entry;
    struct mu_error err;

    if (secureboot_authority(&keys, image, &entry, &err) != MU_OK)
        fail_msg("%s", err.text);
    assert_true(bytes_equal(entry, expected));
}

static void expect_refusal(struct bytes db, struct bytes dbx, struct bytes image,
                           const char *message)
{
    const struct secure_boot keys = {.db = db, .dbx = dbx};
    struct bytes entry;
    struct mu_error err = {0};

    assert_int_equal(secureboot_authority(&keys, image, &entry, &err), MU_REFUSE);
    if (strstr(err.text, message) == NULL)
        fail_msg("'%s' lacks '%s'", err.text, message);
}

static void the_entry_that_verifies_is_found(void **state)
{
    struct buffer db = ours("db.esl"), root = ours("root.esl"), leaf = ours("leaf.esl");
    struct buffer direct = ours("direct.efi"), issued = ours("issued.efi");
    struct buffer all = joined(buffer_view(&db), buffer_view(&root));
    struct buffer leaf_first = joined(buffer_view(&leaf), buffer_view(&root));
    struct buffer root_first = joined(buffer_view(&root), buffer_view(&leaf));
    const struct bytes none = {NULL, 0};

    (void)state;
    expect_entry(buffer_view(&all), buffer_view(&direct), entry_of(&db));
    expect_entry(buffer_view(&all), buffer_view(&issued), entry_of(&root));
    expect_entry(buffer_view(&leaf), buffer_view(&issued), entry_of(&leaf));
    expect_entry(buffer_view(&leaf_first), buffer_view(&issued), entry_of(&leaf));
    expect_entry(buffer_view(&root_first), buffer_view(&issued), entry_of(&root));
    expect_refusal(buffer_view(&root), none, buffer_view(&direct), "nothing in db");
    expect_refusal(buffer_view(&db), none, buffer_view(&issued), "nothing in db");
    expect_refusal(none, none, buffer_view(&direct), "nothing in db");
    buffer_free(&db);
    buffer_free(&root);
    buffer_free(&leaf);
    buffer_free(&direct);
    buffer_free(&issued);
    buffer_free(&all);
    buffer_free(&leaf_first);
    buffer_free(&root_first);
}

static void dbx_forbids(void **state)
{
    struct buffer db = ours("db.esl"), root = ours("root.esl"), leaf = ours("leaf.esl");
    struct buffer issued = ours("issued.efi"), digest = digest_list(buffer_view(&issued));
    struct buffer both = joined(buffer_view(&db), buffer_view(&digest));

    (void)state;
    expect_refusal(buffer_view(&root), buffer_view(&leaf), buffer_view(&issued),
                   "dbx forbids the key");
    expect_refusal(buffer_view(&leaf), buffer_view(&root), buffer_view(&issued),
                   "dbx forbids the key");
    expect_refusal(buffer_view(&root), buffer_view(&both), buffer_view(&issued),
                   "dbx forbids the image");
    digest.data[44] ^= 1;
    {
        const struct secure_boot keys = {.db = buffer_view(&root), .dbx = buffer_view(&digest)};
        struct bytes entry;
        struct mu_error err;

        assert_int_equal(secureboot_authority(&keys, buffer_view(&issued), &entry, &err), MU_OK);
    }
    buffer_free(&db);
    buffer_free(&root);
    buffer_free(&leaf);
    buffer_free(&issued);
    buffer_free(&digest);
    buffer_free(&both);
}

/* An image without a signature starts when db has its digest. */
static void digests_in_db_count(void **state)
{
    static const struct made_section section = {".text", {(const uint8_t *)"x", 1}};
    struct buffer image = made_pe(&section, 1, (struct bytes){NULL, 0}, 0);
    struct buffer digest = digest_list(buffer_view(&image)), db = ours("db.esl");
    struct buffer both = joined(buffer_view(&db), buffer_view(&digest));
    const struct bytes none = {NULL, 0};

    (void)state;
    expect_entry(buffer_view(&both), buffer_view(&image), entry_of(&digest));
    expect_refusal(buffer_view(&db), none, buffer_view(&image), "nothing in db");
    buffer_free(&image);
    buffer_free(&digest);
    buffer_free(&db);
    buffer_free(&both);
}

/* Neither a changed image nor a changed signature passes. */
static void every_byte_counts(void **state)
{
    struct buffer db = ours("db.esl"), image = ours("direct.efi");
    const struct secure_boot keys = {.db = buffer_view(&db)};
    unsigned passed = 0;
    struct bytes entry;
    struct mu_error err;

    (void)state;
    image.data[1024] ^= 1;
    expect_refusal(keys.db, keys.dbx, buffer_view(&image), "changed after it was signed");
    image.data[1024] ^= 1;
    for (size_t i = 1536; i < image.len; i += 3) {
        image.data[i] ^= 0x41;
        passed += secureboot_authority(&keys, buffer_view(&image), &entry, &err) == MU_OK;
        image.data[i] ^= 0x41;
    }
    /* The certificate that the image brings along is not what is trusted, and padding is nothing.
     */
    assert_true(passed < (image.len - 1536) / 3);
    for (size_t i = image.len - 200; i < image.len - 16; i++) { /* the signature's value */
        image.data[i] ^= 1;
        assert_int_not_equal(secureboot_authority(&keys, buffer_view(&image), &entry, &err), MU_OK);
        image.data[i] ^= 1;
    }
    buffer_free(&db);
    buffer_free(&image);
}

static void variables_are_recognised(void **state)
{
    struct buffer db = ours("db.esl");
    static const uint8_t attributes[4] = {0x27};
    uint8_t descriptor[16 + 24 + 5] = {0xea, 0x07, 1, 1};
    struct buffer efivarfs = joined((struct bytes){attributes, 4}, buffer_view(&db)), auth;
    struct bytes contents;
    struct mu_error err;

    (void)state;
    put_le(descriptor + 16, 24 + 5, 4);
    put_le(descriptor + 20, 0x0200, 2);
    put_le(descriptor + 22, 0x0ef1, 2);
    auth = joined((struct bytes){descriptor, sizeof(descriptor)}, buffer_view(&db));
    assert_int_equal(secureboot_variable(buffer_view(&db), &contents, &err), MU_OK);
    assert_true(bytes_equal(contents, buffer_view(&db)));
    assert_int_equal(secureboot_variable(buffer_view(&efivarfs), &contents, &err), MU_OK);
    assert_true(bytes_equal(contents, buffer_view(&db)));
    assert_int_equal(secureboot_variable(buffer_view(&auth), &contents, &err), MU_OK);
    assert_true(bytes_equal(contents, buffer_view(&db)));
    assert_int_equal(secureboot_variable((struct bytes){NULL, 0}, &contents, &err), MU_OK);
    assert_int_equal(contents.len, 0);
    assert_int_equal(
        secureboot_variable((struct bytes){(const uint8_t *)"-----BEGIN", 10}, &contents, &err),
        MU_CONFIG);
    assert_non_null(strstr(err.text, "cert-to-efi-sig-list"));
    buffer_free(&db);
    buffer_free(&efivarfs);
    buffer_free(&auth);
}

static void truncated_lists_are_refused(void **state)
{
    struct buffer db = ours("db.esl");
    struct bytes contents;
    struct mu_error err;

    (void)state;
    for (size_t len = 1; len < db.len; len++) {
        uint8_t *cut = malloc(len);
        enum mu_status status;

        assert_non_null(cut);
        memcpy(cut, db.data, len);
        status = secureboot_variable((struct bytes){cut, len}, &contents, &err);
        assert_int_equal(status, len == 4 ? MU_OK : MU_CONFIG); /* 4: attributes, nothing else */
        free(cut);
    }
    buffer_free(&db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_entry_that_verifies_is_found),
        cmocka_unit_test(dbx_forbids),
        cmocka_unit_test(digests_in_db_count),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(variables_are_recognised),
        cmocka_unit_test(truncated_lists_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
