/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <openssl/x509.h>

#include "base/file.h"
#include "build/authenticode.h"
#include "build/secureboot.h"
#include "made_pe.h"
#include "test.h"

/* tests/data/secureboot: direct.efi is signed with the key in db.esl, issued.efi with the key in
 * leaf.esl, whose certificate the key in root.esl has issued and which is in the image. */

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

    if (secureboot_authority(&keys, image, &entry, &err) != MU_OK)
        fail_msg("%s", err.text);
    assert_true(bytes_equal(entry, expected));
}

static void expect_refusal(struct bytes db, struct bytes dbx, struct bytes image,
                           const char *message)
{
    const struct secure_boot keys = {.db = db, .dbx = dbx};
    struct bytes entry;

    assert_int_equal(secureboot_authority(&keys, image, &entry, &err), MU_REFUSE);
    if (strstr(err.text, message) == NULL)
        fail_msg("'%s' lacks '%s'", err.text, message);
}

TEST(the_entry_that_verifies_is_found)
{
    struct buffer db = data_load("secureboot/db.esl"), root = data_load("secureboot/root.esl"),
                  leaf = data_load("secureboot/leaf.esl");
    struct buffer direct = data_load("secureboot/direct.efi"),
                  issued = data_load("secureboot/issued.efi");
    struct buffer all = joined(buffer_view(&db), buffer_view(&root));
    struct buffer leaf_first = joined(buffer_view(&leaf), buffer_view(&root));
    struct buffer root_first = joined(buffer_view(&root), buffer_view(&leaf));
    const struct bytes none = {NULL, 0};

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

TEST(dbx_forbids)
{
    struct buffer db = data_load("secureboot/db.esl"), root = data_load("secureboot/root.esl"),
                  leaf = data_load("secureboot/leaf.esl");
    struct buffer issued = data_load("secureboot/issued.efi"),
                  digest = digest_list(buffer_view(&issued));
    struct buffer both = joined(buffer_view(&db), buffer_view(&digest));

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

        assert_int_equal(secureboot_authority(&keys, buffer_view(&issued), &entry, &err), MU_OK);
    }
    buffer_free(&db);
    buffer_free(&root);
    buffer_free(&leaf);
    buffer_free(&issued);
    buffer_free(&digest);
    buffer_free(&both);
}

/* A list of one digest of what an issuer has signed in the certificate of `list`, and the time from
 * which on it is revoked. */
static struct buffer revocation(const struct buffer *list, const uint8_t *guid, enum hash_alg alg,
                                uint16_t year)
{
    struct bytes certificate = {list->data + 44, list->len - 44};
    const size_t size = 16 + hash_size(alg) + 16;
    struct buffer made = {calloc(1, 28 + size), 28 + size};
    const uint8_t *der = certificate.data;
    X509 *parsed = d2i_X509(NULL, &der, (long)certificate.len);
    uint8_t *tbs = NULL;
    struct digest digest;
    int len;

    assert_non_null(made.data);
    assert_non_null(parsed);
    len = i2d_re_X509_tbs(parsed, &tbs);
    assert_true(len > 0);
    assert_int_equal(hash_bytes(alg, (struct bytes){tbs, (size_t)len}, &digest, &err), MU_OK);
    memcpy(made.data, guid, 16);
    put_le(made.data + 16, made.len, 4);
    put_le(made.data + 24, size, 4);
    memcpy(made.data + 44, digest.bytes, hash_size(alg));
    put_le(made.data + made.len - 16, year, 2);
    OPENSSL_free(tbs);
    X509_free(parsed);
    return made;
}

/* UEFI 2.10, 32.4.1: the signer's certificate, and the one of db above it, by their digests. */
TEST(dbx_revokes_by_digest)
{
    static const struct {
        uint8_t guid[16];
        enum hash_alg alg;
    } types[] = {
        {{0x92, 0xa4, 0xd2, 0x3b, 0xc0, 0x96, 0x79, 0x40, 0xb4, 0x20, 0xfc, 0xf9, 0x8e, 0xf1, 0x03,
          0xed},
         HASH_SHA256},
        {{0x6e, 0x87, 0x76, 0x70, 0xc2, 0x80, 0xe6, 0x4e, 0xaa, 0xd2, 0x28, 0xb3, 0x49, 0xa6, 0x86,
          0x5b},
         HASH_SHA384},
        {{0x63, 0xbf, 0x6d, 0x44, 0x02, 0x25, 0xda, 0x4c, 0xbc, 0xfa, 0x24, 0x65, 0xd2, 0xb0, 0xfe,
          0x9d},
         HASH_SHA512},
    };
    struct buffer db = data_load("secureboot/db.esl"), root = data_load("secureboot/root.esl"),
                  leaf = data_load("secureboot/leaf.esl");
    struct buffer issued = data_load("secureboot/issued.efi");

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        for (uint16_t year = 0; year <= 2099; year += 2099) { /* always; from then on */
            struct buffer of_leaf = revocation(&leaf, types[i].guid, types[i].alg, year);
            struct buffer of_root = revocation(&root, types[i].guid, types[i].alg, year);
            struct buffer other = revocation(&db, types[i].guid, types[i].alg, year);
            struct buffer second = joined(buffer_view(&other), buffer_view(&of_leaf));
            const struct secure_boot keys = {.db = buffer_view(&root), .dbx = buffer_view(&other)};
            struct bytes entry;

            assert_int_equal(secureboot_authority(&keys, buffer_view(&issued), &entry, &err),
                             MU_OK);
            expect_refusal(keys.db, buffer_view(&of_leaf), buffer_view(&issued), "dbx revokes");
            expect_refusal(keys.db, buffer_view(&second), buffer_view(&issued), "dbx revokes");
            expect_refusal(keys.db, buffer_view(&of_root), buffer_view(&issued),
                           "the certificate of db");
            buffer_free(&of_leaf);
            buffer_free(&of_root);
            buffer_free(&other);
            buffer_free(&second);
        }
    }
    buffer_free(&db);
    buffer_free(&root);
    buffer_free(&leaf);
    buffer_free(&issued);
}

/* An image without a signature starts when db has its digest. */
TEST(digests_in_db_count)
{
    static const struct made_section section = {".text", {(const uint8_t *)"x", 1}};
    struct buffer image = made_pe(&section, 1, (struct bytes){NULL, 0}, 0);
    struct buffer digest = digest_list(buffer_view(&image)), db = data_load("secureboot/db.esl");
    struct buffer both = joined(buffer_view(&db), buffer_view(&digest));
    const struct bytes none = {NULL, 0};

    expect_entry(buffer_view(&both), buffer_view(&image), entry_of(&digest));
    expect_refusal(buffer_view(&db), none, buffer_view(&image), "nothing in db");
    buffer_free(&image);
    buffer_free(&digest);
    buffer_free(&db);
    buffer_free(&both);
}

/* Neither a changed image nor a changed signature passes. */
TEST(every_byte_counts)
{
    struct buffer db = data_load("secureboot/db.esl"), image = data_load("secureboot/direct.efi");
    const struct secure_boot keys = {.db = buffer_view(&db)};
    unsigned passed = 0;
    struct bytes entry;

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

TEST(variables_are_recognised)
{
    struct buffer db = data_load("secureboot/db.esl");
    static const uint8_t attributes[4] = {0x27};
    uint8_t descriptor[16 + 24 + 5] = {0xea, 0x07, 1, 1};
    struct buffer efivarfs = joined((struct bytes){attributes, 4}, buffer_view(&db)), auth;
    struct bytes contents;

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
    assert_non_null(strstr(err.text, "muctl secureboot list"));
    buffer_free(&db);
    buffer_free(&efivarfs);
    buffer_free(&auth);
}

TEST(truncated_lists_are_refused)
{
    struct buffer db = data_load("secureboot/db.esl");
    struct bytes contents;

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
