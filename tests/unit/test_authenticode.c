/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/file.h"
#include "base/json.h"
#include "build/authenticode.h"
#include "build/pe.h"
#include "made_pe.h"
#include "test.h"

#define TEXT(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

static const struct made_section two[] = {{".text", TEXT("code")}, {".linux", TEXT("kernel")}};

static struct digest digest_of(const struct buffer *pe)
{
    struct digest digest = {{0}};

    if (authenticode_hash(buffer_view(pe), HASH_SHA256, &digest, &err) != MU_OK)
        fail_msg("%s", err.text);
    return digest;
}

/* The signer wrote the digest into the signature that the image carries. */
static void agrees_with_its_signature(const struct buffer *file)
{
    struct digest digest = digest_of(file);

    assert_non_null(memmem(file->data, file->len, digest.bytes, 32));
}

/* The package's version of the vectors, whose digests were computed independently. */
static void genuine_image_has_the_known_digest(void)
{
    static const char version[] = "systemd-boot 252.39-1~deb12u2 ";
    static const char *const path[] = {"images", "systemd-bootx64.efi", "authenticode_sha256"};
    MU_CLEANUP(buffer_free) struct buffer file = {0};
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    MU_CLEANUP(json_free) json_object *expected = NULL;
    json_object *member;
    char hex[2 * HASH_MAX_SIZE + 1];
    struct digest digest;

    if (!vector_find("authenticode/expected.json", &text) ||
        file_read("/usr/lib/systemd/boot/efi/systemd-bootx64.efi", PE_MAX_BYTES, &file, &err) !=
            MU_OK ||
        memmem(file.data, file.len, version, strlen(version)) == NULL)
        return;
    assert_int_equal(json_parse(buffer_view(&text), "expected", MU_CONFIG, &expected, &err), MU_OK);
    member = expected;
    for (size_t i = 0; i < sizeof(path) / sizeof(path[0]); i++)
        member = json_object_object_get(member, path[i]);
    digest = digest_of(&file);
    hex_encode((struct bytes){digest.bytes, 32}, hex);
    assert_string_equal(hex, json_object_get_string(member));
}

TEST(images_have_the_known_digests)
{
    struct buffer direct = data_load("secureboot/direct.efi");
    struct buffer issued = data_load("secureboot/issued.efi");
    struct buffer shim;

    agrees_with_its_signature(&direct);
    agrees_with_its_signature(&issued);
    if (file_read("/usr/lib/shim/shimx64.efi.signed", PE_MAX_BYTES, &shim, &err) == MU_OK) {
        agrees_with_its_signature(&shim);
        buffer_free(&shim);
    }
    genuine_image_has_the_known_digest();
    buffer_free(&direct);
    buffer_free(&issued);
}

/* A definition that shares nothing with the code: the hash of the file without three ranges. */
static struct digest flat_digest(const struct buffer *pe, size_t certificates)
{
    size_t len = pe->len - certificates;
    uint8_t *flat = malloc(len);
    struct digest digest;

    assert_non_null(flat);
    memcpy(flat, pe->data, len);
    memmove(flat + PE_SECURITY, flat + PE_SECURITY + 8, len - PE_SECURITY - 8);
    memmove(flat + PE_CHECKSUM, flat + PE_CHECKSUM + 4, len - 8 - PE_CHECKSUM - 4);
    assert_int_equal(hash_bytes(HASH_SHA256, (struct bytes){flat, len - 12}, &digest, &err), MU_OK);
    free(flat);
    return digest;
}

TEST(made_image_has_the_known_digest)
{
    struct buffer pe = made_pe(two, 2, TEXT("tail"), 64);
    struct digest digest = digest_of(&pe), expected = flat_digest(&pe, 64);

    assert_memory_equal(digest.bytes, expected.bytes, 32);
    buffer_free(&pe);
}

/* Each byte counts but those of the check sum, the directory entry and the certificates. */
TEST(every_byte_counts)
{
    struct buffer pe = made_pe(two, 2, TEXT("tail"), 64);
    struct digest before = digest_of(&pe), after;

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

TEST(sections_are_hashed_by_offset)
{
    struct buffer pe = made_pe(two, 2, TEXT(""), 0);
    struct digest wanted, digest;
    uint8_t first[40];

    /* Another order in the table: only the table's own bytes change what is hashed. */
    memcpy(first, pe.data + PE_SECTIONS, 40);
    memmove(pe.data + PE_SECTIONS, pe.data + PE_SECTIONS + 40, 40);
    memcpy(pe.data + PE_SECTIONS + 40, first, 40);
    digest = digest_of(&pe);
    wanted = flat_digest(&pe, 0);
    assert_memory_equal(digest.bytes, wanted.bytes, 32);
    buffer_free(&pe);
}

TEST(truncation_is_refused)
{
    struct buffer pe = made_pe(two, 2, TEXT(""), 64);
    struct digest digest;

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

TEST(malformed_images_are_refused)
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

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer pe = made_pe(two, 2, TEXT("some bytes more"), 1024);
        struct digest digest;

        put_le(pe.data + cases[i].offset, cases[i].value, cases[i].size);
        assert_int_equal(authenticode_hash(buffer_view(&pe), HASH_SHA256, &digest, &err),
                         MU_CONFIG);
        if (strstr(err.text, cases[i].message) == NULL)
            fail_msg("case %zu: '%s' lacks '%s'", i, err.text, cases[i].message);
        buffer_free(&pe);
    }
}

static struct bytes section_of(const struct buffer *pe, const char *name, struct buffer *spare)
{
    struct bytes section;

    assert_int_equal(pe_section(buffer_view(pe), name, spare, &section, &err), MU_OK);
    return section;
}

TEST(sections_are_found)
{
    static const struct made_section twice[] = {{".a", TEXT("1")}, {".a", TEXT("2")}};
    struct buffer pe = made_pe(two, 2, TEXT(""), 0), spare = {0};
    struct bytes section;

    assert_true(bytes_equal(section_of(&pe, ".linux", &spare), TEXT("kernel")));
    section = section_of(&pe, ".lin", &spare);
    assert_int_equal(section.len, 0);
    assert_non_null(section.data); /* what searches in it may not be given NULL */
    buffer_free(&pe);
    pe = made_pe(twice, 2, TEXT(""), 0);
    assert_int_equal(pe_section(buffer_view(&pe), ".a", &spare, &section, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "two sections"));
    buffer_free(&pe);
    buffer_free(&spare);
}

/* As it lies in memory: the rest of it is zeros. */
TEST(section_may_be_longer_than_its_file)
{
    struct buffer pe = made_pe(two, 2, TEXT(""), 0), spare = {0};
    struct bytes section;

    put_le(pe.data + PE_SECTIONS + 48, 1000, 4); /* virtual size of the second; 512 in the file */
    section = section_of(&pe, ".linux", &spare);
    assert_int_equal(section.len, 1000);
    assert_memory_equal(section.data, "kernel", 6);
    assert_true(bytes_all_zero((struct bytes){section.data + 6, 994}));
    put_le(pe.data + PE_SECTIONS + 48, 512 + PE_PADDING_MAX, 4);
    section = section_of(&pe, ".linux", &spare);
    assert_int_equal(section.len, 512 + PE_PADDING_MAX);
    put_le(pe.data + PE_SECTIONS + 48, 512 + PE_PADDING_MAX + 1, 4);
    assert_int_equal(pe_section(buffer_view(&pe), ".linux", &spare, &section, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "VirtualSize"));
    buffer_free(&pe);
    buffer_free(&spare);
}

TEST(each_profile_has_its_sections)
{
    static const struct made_section sections[] = {
        {".cmdline", TEXT("base")},    {".linux", TEXT("kernel")},
        {".profile", TEXT("ID=main")}, {".profile", TEXT("ID=two")},
        {".cmdline", TEXT("other")},   {".profile", TEXT("ID=three")},
        {".linux", TEXT("3")},         {".cmdline", TEXT("the last")},
    };
    static const struct {
        const char *cmdline, *linux_, *profile;
    } expected[] = {{"base", "kernel", "ID=main"},
                    {"other", "kernel", "ID=two"},
                    {"the last", "3", "ID=three"}};
    struct buffer file = made_pe(sections, 8, TEXT(""), 0), spare = {0};
    struct bytes section;
    struct pe pe;

    assert_int_equal(pe_parse(buffer_view(&file), &pe, &err), MU_OK);
    assert_int_equal(pe_profiles(&pe), 3);
    for (size_t i = 0; i < 3; i++) {
        const struct {
            const char *name, *text;
        } wanted[] = {{".cmdline", expected[i].cmdline},
                      {".linux", expected[i].linux_},
                      {".profile", expected[i].profile}};

        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(pe_profile_section(&pe, i, wanted[k].name, &spare, &section, &err),
                             MU_OK);
            assert_int_equal(section.len, strlen(wanted[k].text));
            assert_memory_equal(section.data, wanted[k].text, section.len);
        }
    }
    assert_true(bytes_equal(section_of(&file, ".cmdline", &spare), TEXT("base")));
    buffer_free(&file);
    buffer_free(&spare);
}
