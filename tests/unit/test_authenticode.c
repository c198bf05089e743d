/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "made_pe.h"
#include "measure/authenticode.h"
#include "vectors.h"

#define TEXT(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

static const struct made_section two[] = {{".text", TEXT("code")}, {".linux", TEXT("kernel")}};

static struct digest digest_of(const struct buffer *pe)
{
    struct digest digest = {{0}};
    struct mu_error err;

    if (authenticode_hash(buffer_view(pe), HASH_SHA256, &digest, &err) != MU_OK)
        fail_msg("%s", err.text);
    return digest;
}

static struct buffer installed(const char *path)
{
    struct buffer file = {0};
    struct mu_error err;

    if (file_read(path, PE_MAX_BYTES, &file, &err) != MU_OK) {
        print_message("skipped: %s\n", err.text);
        skip();
    }
    return file;
}

/* The signer wrote the digest into the signature that the image carries. */
static void signed_image_agrees_with_its_signature(void **state)
{
    struct buffer file = installed("/usr/lib/shim/shimx64.efi.signed");
    struct digest digest = digest_of(&file);

    (void)state;
    assert_non_null(memmem(file.data, file.len, digest.bytes, 32));
    buffer_free(&file);
}

/* The package's version of the vectors, whose digests were computed independently. */
static void genuine_image_has_the_known_digest(void **state)
{
    static const char version[] = "systemd-boot 252.39-1~deb12u2 ";
    struct buffer file = installed("/usr/lib/systemd/boot/efi/systemd-bootx64.efi");
    struct buffer text = vector_load("authenticode/expected.json");
    json_object *expected = NULL, *image;
    char hex[2 * HASH_MAX_SIZE + 1];
    struct digest digest;
    struct mu_error err;

    (void)state;
    if (memmem(file.data, file.len, version, strlen(version)) == NULL) {
        print_message("skipped: systemd-boot-efi is not %s\n", version);
        buffer_free(&text);
        buffer_free(&file);
        skip();
    }
    assert_int_equal(json_parse(buffer_view(&text), "expected", MU_CONFIG, &expected, &err), MU_OK);
    image =
        json_object_object_get(json_object_object_get(expected, "images"), "systemd-bootx64.efi");
    digest = digest_of(&file);
    hex_encode((struct bytes){digest.bytes, 32}, hex);
    assert_string_equal(
        hex, json_object_get_string(json_object_object_get(image, "authenticode_sha256")));
    json_free(&expected);
    buffer_free(&text);
    buffer_free(&file);
}

/* A definition that shares nothing with the code: the hash of the file without three ranges. */
static struct digest flat_digest(const struct buffer *pe, size_t certificates)
{
    size_t len = pe->len - certificates;
    uint8_t *flat = malloc(len);
    struct digest digest;
    struct mu_error err;

    assert_non_null(flat);
    memcpy(flat, pe->data, len);
    memmove(flat + PE_SECURITY, flat + PE_SECURITY + 8, len - PE_SECURITY - 8);
    memmove(flat + PE_CHECKSUM, flat + PE_CHECKSUM + 4, len - 8 - PE_CHECKSUM - 4);
    assert_int_equal(hash_bytes(HASH_SHA256, (struct bytes){flat, len - 12}, &digest, &err), MU_OK);
    free(flat);
    return digest;
}

static void made_image_has_the_known_digest(void **state)
{
    struct buffer pe = made_pe(two, 2, TEXT("tail"), 64);
    struct digest digest = digest_of(&pe), expected = flat_digest(&pe, 64);

    (void)state;
    assert_memory_equal(digest.bytes, expected.bytes, 32);
    buffer_free(&pe);
}

/* Each byte counts but those of the check sum, the directory entry and the certificates. */
static void every_byte_counts(void **state)
{
    struct buffer pe = made_pe(two, 2, TEXT("tail"), 64);
    struct digest before = digest_of(&pe), after;
    struct mu_error err;

    (void)state;
    for (size_t i = 0; i < pe.len; i++) {
        bool left_out = (i >= PE_CHECKSUM && i < PE_CHECKSUM + 4) ||
                        (i >= PE_SECURITY && i < PE_SECURITY + 8) || i >= pe.len - 64;
        enum mu_status status;

        pe.data[i] ^= 0x10;
        status = authenticode_hash(buffer_view(&pe), HASH_SHA256, &after, &err);
        pe.data[i] ^= 0x10;
        if (status == MU_OK && (memcmp(before.bytes, after.bytes, 32) == 0) != left_out)
            fail_msg("byte %zu is %s", i, left_out ? "hashed" : "not hashed");
    }
    buffer_free(&pe);
}

static void sections_are_hashed_by_offset(void **state)
{
    struct buffer pe = made_pe(two, 2, TEXT(""), 0);
    struct digest wanted, digest;
    uint8_t first[40];

    (void)state;
    /* Another order in the table: only the table's own bytes change what is hashed. */
    memcpy(first, pe.data + PE_SECTIONS, 40);
    memmove(pe.data + PE_SECTIONS, pe.data + PE_SECTIONS + 40, 40);
    memcpy(pe.data + PE_SECTIONS + 40, first, 40);
    digest = digest_of(&pe);
    wanted = flat_digest(&pe, 0);
    assert_memory_equal(digest.bytes, wanted.bytes, 32);
    buffer_free(&pe);
}

static void truncation_is_refused(void **state)
{
    struct buffer pe = made_pe(two, 2, TEXT(""), 64);
    struct digest digest;
    struct mu_error err;

    (void)state;
    for (size_t len = 0; len < pe.len; len++) {
        uint8_t *cut = malloc(len + 1);

        assert_non_null(cut);
        memcpy(cut, pe.data, len);
        assert_int_equal(authenticode_hash((struct bytes){cut, len}, HASH_SHA256, &digest, &err),
                         MU_CONFIG);
        free(cut);
    }
    buffer_free(&pe);
}

static void malformed_images_are_refused(void **state)
{
    static const struct {
        size_t offset;
        uint32_t value;
        size_t size;
        const char *message;
    } cases[] = {
        {0, 0, 1, "'MZ'"},
        {0x3c, 0xfffffff0, 4, "no PE header"},
        {0x80, 0, 1, "no PE header"},
        {0x86, 97, 2, "sections"},
        {0x98, 0x107, 2, "magic 0x107"},
        {0x98 + 108, 17, 4, "17 data directories"},
        {0x94, 64, 2, "too short"},
        {0x98 + 60, 0xffffff, 4, "truncated in its headers"},
        {0x98 + 60, 0x190, 4, "section table"},
        {PE_SECURITY, 8, 4, "certificate table"},
        {PE_SECURITY + 4, 0xffffffff, 4, "certificate table"},
        {PE_SECTIONS + 16, 0xfffffe00, 4, "'.text' lies outside"},
        {PE_SECTIONS + 20, 0xfffffe00, 4, "'.text' lies outside"},
        {PE_SECTIONS + 20, 0x200, 4, "'.text' lies outside"},
        {PE_SECTIONS + 16, 1024, 4, "overlap"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer pe = made_pe(two, 2, TEXT("some bytes more"), 1024);
        struct digest digest;
        struct mu_error err = {0};

        put_le(pe.data + cases[i].offset, cases[i].value, cases[i].size);
        assert_int_equal(authenticode_hash(buffer_view(&pe), HASH_SHA256, &digest, &err),
                         MU_CONFIG);
        if (strstr(err.text, cases[i].message) == NULL)
            fail_msg("case %zu: '%s' lacks '%s'", i, err.text, cases[i].message);
        buffer_free(&pe);
    }
}

static void sections_are_found(void **state)
{
    static const struct made_section twice[] = {{".a", TEXT("1")}, {".a", TEXT("2")}};
    struct buffer pe = made_pe(two, 2, TEXT(""), 0);
    struct bytes section;
    struct mu_error err;

    (void)state;
    assert_int_equal(pe_section(buffer_view(&pe), ".linux", &section, &err), MU_OK);
    assert_true(bytes_equal(section, TEXT("kernel")));
    assert_int_equal(pe_section(buffer_view(&pe), ".lin", &section, &err), MU_OK);
    assert_int_equal(section.len, 0);
    assert_non_null(section.data); /* what searches in it may not be given NULL */
    put_le(pe.data + PE_SECTIONS + 48, 513, 4); /* virtual size */
    assert_int_equal(pe_section(buffer_view(&pe), ".linux", &section, &err), MU_CONFIG);
    buffer_free(&pe);
    pe = made_pe(twice, 2, TEXT(""), 0);
    assert_int_equal(pe_section(buffer_view(&pe), ".a", &section, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "two sections"));
    buffer_free(&pe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signed_image_agrees_with_its_signature),
        cmocka_unit_test(genuine_image_has_the_known_digest),
        cmocka_unit_test(made_image_has_the_known_digest),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(sections_are_hashed_by_offset),
        cmocka_unit_test(truncation_is_refused),
        cmocka_unit_test(malformed_images_are_refused),
        cmocka_unit_test(sections_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
