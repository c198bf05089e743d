/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/bootentry.h"
#include "made_pe.h"
#include "test.h"

#define TEXT(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

TEST(names)
{
    static const struct {
        const char *file, *stem;
        int64_t left, done;
    } good[] = {
        {"linux.efi", "linux", -1, 0},
        {"LINUX.EFI", "LINUX", -1, 0},
        {"linux-2+3.efi", "linux-2", 3, 0},
        {"linux-2+2-1.efi", "linux-2", 2, 1},
        {"linux+0-3.EFI", "linux", 0, 3},
        {"a+b+1.efi", "a+b", 1, 0},
        /* No counters: they belong to the name. */
        {"linux+.efi", "linux+", -1, 0},
        {"linux+3-.efi", "linux+3-", -1, 0},
        {"linux+3x.efi", "linux+3x", -1, 0},
        {"linux+-1.efi", "linux+-1", -1, 0},
        {"linux+99999999999999999999.efi", "linux+99999999999999999999", -1, 0},
        {"linux+3.x.efi", "linux+3.x", -1, 0},
        {"+3.efi", "+3", -1, 0},
    };
    static const char *const bad[] = {".efi", "linux", "linux.efi.part", "", "linux.ef"};
    struct boot_name name;

    for (size_t i = 0; i < MU_COUNT(good); i++) {
        assert_true(boot_name_parse(good[i].file, &name));
        assert_string_equal(name.stem, good[i].stem);
        assert_int_equal(name.left, good[i].left);
        assert_int_equal(name.done, good[i].done);
    }
    for (size_t i = 0; i < MU_COUNT(bad); i++)
        assert_false(boot_name_parse(bad[i], &name));
}

TEST(long_names)
{
    char file[BOOT_FILE_MAX + 8], made[BOOT_FILE_MAX];
    struct boot_name name;

    memset(file, 'x', sizeof(file));
    memcpy(file + BOOT_FILE_MAX - 4, ".efi", 5);
    assert_false(boot_name_parse(file, &name));
    file[BOOT_FILE_MAX - 4] = '\0';
    assert_int_equal(boot_name_make(file, 3, made, &err), MU_CONFIG);
}

TEST(made_names)
{
    static const char *const bad[] = {"",    ".hidden",    "a b",  "a/b",
                                      "a+1", "auto-linux", "a\\b", "ü"};
    char made[BOOT_FILE_MAX];

    assert_int_equal(boot_name_make("linux-2", 3, made, &err), MU_OK);
    assert_string_equal(made, "linux-2+3.efi");
    assert_int_equal(boot_name_make("linux-2", -1, made, &err), MU_OK);
    assert_string_equal(made, "linux-2.efi");
    for (size_t i = 0; i < MU_COUNT(bad); i++)
        assert_int_equal(boot_name_make(bad[i], 3, made, &err), MU_CONFIG);
}

/* UAPI.10, "Examples", and systemd's own test. */
TEST(versions)
{
    static const char *const rising[][16] = {
        {"122.1", "123~rc1-1", "123", "123-a", "123-a.1", "123-1", "123-1.1", "123^post1",
         "123.a-1", "123.1-1", "123a-1", "124-1", NULL},
        {"1~", "1", "1.0", "1.1", "1.10", "2", NULL},
        {"a", "b", "1", "9", "10", "010.1", NULL},
        {"12 (bookworm)", "13 (trixie)", NULL},
        {"linux-1.efi", "linux-2+3.efi", "linux-10.efi", NULL},
        {"linux-2.efi", "linux.efi", "linux2.efi", NULL},
    };

    for (size_t k = 0; k < MU_COUNT(rising); k++)
        for (size_t i = 0; rising[k][i] != NULL; i++)
            for (size_t j = 0; rising[k][j] != NULL; j++) {
                const int order = version_compare(rising[k][i], rising[k][j]);

                assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
            }
    assert_int_equal(version_compare("01", "1"), 0);
    assert_int_equal(version_compare("", ""), 0);
    assert_true(version_compare("1", "") > 0);
}

static struct boot_entry entry(const char *file, const char *key, const char *version)
{
    struct boot_entry e = {0};

    assert_true(boot_name_parse(file, &e.name));
    (void)snprintf(e.file, sizeof(e.file), "%s", file);
    (void)snprintf(e.sort_key, sizeof(e.sort_key), "%s", key);
    (void)snprintf(e.version, sizeof(e.version), "%s", version);
    return e;
}

TEST(order)
{
    /* The first is taken. */
    static const struct {
        const char *file, *key, *version;
    } rows[] = {
        {"z-1.efi", "aardvark", "1"},
        {"linux-9+1.efi", "debian", "14"},
        {"linux-9.efi", "debian", "13"},
        {"linux-2+3.efi", "debian", "13"},
        {"LINUX-1.efi", "debian", "13"},
        {"linux-0.efi", "debian", ""},
        {"zz.efi", "", ""},
        {"linux-99+0-3.efi", "debian", "13"},
    };

    for (size_t i = 0; i < MU_COUNT(rows); i++)
        for (size_t j = 0; j < MU_COUNT(rows); j++) {
            const struct boot_entry a = entry(rows[i].file, rows[i].key, rows[i].version);
            const struct boot_entry b = entry(rows[j].file, rows[j].key, rows[j].version);
            const int order = boot_entry_compare(&a, &b);

            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
        }
}

static struct buffer image(struct bytes osrel, bool kernel)
{
    const struct made_section sections[] = {
        {".text", TEXT("stub")}, {".osrel", osrel}, {".linux", TEXT("kernel")}};

    return made_pe(sections, kernel ? 3 : 2, TEXT(""), 0);
}

static enum mu_status read_it(struct bytes osrel, struct boot_entry *ret)
{
    MU_CLEANUP(buffer_free) struct buffer file = image(osrel, true);

    return boot_entry_read("linux.efi", buffer_view(&file), ret, &err);
}

TEST(what_an_image_says)
{
    struct boot_entry e;
    struct buffer file;

    assert_int_equal(
        read_it(TEXT("ID=debian\nVERSION_ID=13\nVERSION=\"13 (trixie)\"\nNAME='D'\n"), &e), MU_OK);
    assert_string_equal(e.sort_key, "debian");
    assert_string_equal(e.version, "13 (trixie)");
    assert_int_equal(read_it(TEXT("IMAGE_ID=web\nID=debian\nBUILD_ID=7\nIMAGE_VERSION=42"), &e),
                     MU_OK);
    assert_string_equal(e.sort_key, "web");
    assert_string_equal(e.version, "42");
    assert_int_equal(read_it(TEXT("PRETTY_NAME=x\nVARIANT_ID=a\nVERSION_ID=\n"), &e), MU_OK);
    assert_string_equal(e.sort_key, "");
    assert_string_equal(e.version, "");
    assert_int_equal(read_it(TEXT("VERSION=1\nIDENTITY=x\n"), &e), MU_CONFIG);
    assert_int_equal(read_it(TEXT("ID="), &e), MU_CONFIG);
    file = image(TEXT("ID=debian\n"), false);
    assert_int_equal(boot_entry_read("linux.efi", buffer_view(&file), &e, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, ".linux"));
    buffer_free(&file);
}
