/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/file.h"
#include "base/json.h"
#include "build/authenticode.h"
#include "build/predict.h"
#include "made_pe.h"
#include "measure/baseline.h"
#include "test.h"

#define TEXT(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})
#define MAGIC(version) TEXT("#### LoaderInfo: systemd-stub " version " ####\0")
#define SBAT(version) TEXT("sbat,1\nsystemd-stub,1,The systemd Developers,systemd," version ",x\n")
#define ALL BASELINE_PCRS

static struct buffer simple_image(const char *text)
{
    const struct made_section section = {".text", {(const uint8_t *)text, strlen(text)}};

    return made_pe(&section, 1, TEXT(""), 0);
}

static struct buffer uki(const char *version_section, struct bytes version)
{
    struct buffer kernel = simple_image("kernel"), ret;
    const struct made_section sections[] = {
        {".text", TEXT("stub")}, {version_section, version}, {".linux", buffer_view(&kernel)}};

    ret = made_pe(sections, 3, TEXT(""), 0);
    buffer_free(&kernel);
    return ret;
}

static void extend(struct digest *pcr, const struct digest *value)
{
    assert_int_equal(hash_extend(HASH_SHA384, pcr, value->bytes, &err), MU_OK);
}

/* PCR 4 after the action, the separator and these images. */
static struct digest pcr4_of(const struct buffer *images, size_t count)
{
    struct digest pcr = {{0}}, value;

    assert_int_equal(
        hash_bytes(HASH_SHA384, TEXT("Calling EFI Application from Boot Option"), &value, &err),
        MU_OK);
    extend(&pcr, &value);
    assert_int_equal(hash_bytes(HASH_SHA384, TEXT("\0\0\0\0"), &value, &err), MU_OK);
    extend(&pcr, &value);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(authenticode_hash(buffer_view(&images[i]), HASH_SHA384, &value, &err),
                         MU_OK);
        extend(&pcr, &value);
    }
    return pcr;
}

static enum mu_status predict_mask(const struct bytes *views, size_t count, uint32_t mask,
                                   const struct secure_boot *keys, const char *phases,
                                   struct pcr_values *ret, struct mu_error *error)
{
    const struct predict_request request = {.bank = HASH_SHA384,
                                            .mask = mask,
                                            .images = views,
                                            .count = count,
                                            .keys = keys,
                                            .phases = phases};

    return predict_values(&request, ret, error);
}

static struct pcr_values predicted_with(const struct buffer *images, size_t count, uint32_t mask,
                                        const struct secure_boot *keys, const char *phases)
{
    struct bytes views[4];
    struct pcr_values values;

    for (size_t i = 0; i < count; i++)
        views[i] = buffer_view(&images[i]);
    if (predict_mask(views, count, mask, keys, phases, &values, &err) != MU_OK)
        fail_msg("%s", err.text);
    assert_int_equal(values.mask, mask);
    return values;
}

static struct pcr_values predicted(const struct buffer *images, size_t count)
{
    return predicted_with(images, count, ALL, NULL, "");
}

/* The refusal's text holds `message`. */
static void expect_refusal(const struct buffer *images, size_t count, uint32_t mask,
                           const char *phases, enum mu_status status, const char *message)
{
    struct bytes views[4];
    struct pcr_values values;

    for (size_t i = 0; i < count; i++)
        views[i] = buffer_view(&images[i]);
    assert_int_equal(predict_mask(views, count, mask, NULL, phases, &values, &err), status);
    if (strstr(err.text, message) == NULL)
        fail_msg("'%s' lacks '%s'", err.text, message);
}

/* As found on EC2 instances; computed with Python's hashlib. */
TEST(pcr7_and_12_are_known)
{
    struct buffer image = simple_image("loader");
    struct pcr_values values = predicted(&image, 1);
    char hex[2 * HASH_MAX_SIZE + 1];

    hex_encode((struct bytes){values.value[7].bytes, 48}, hex);
    assert_string_equal(hex, "98441c7f7625d10058c47683aec486ce311c633235eb555593a7ee791121e3578"
                             "ae72d04ecef661f272d59058b77af35");
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        struct digest clean;

        if ((values.mask & (BASELINE_CLEAN_PCRS | PCR_BIT(12)) & PCR_BIT(pcr)) == 0)
            continue;
        assert_int_equal(baseline_clean_value(HASH_SHA384, pcr, &clean, &err), MU_OK);
        assert_memory_equal(values.value[pcr].bytes, clean.bytes, 48);
    }
    assert_false(baseline_has_secure_boot(&values));
    buffer_free(&image);
}

TEST(images_count_in_order)
{
    struct buffer images[] = {simple_image("shim"), simple_image("loader")};
    struct buffer swapped[] = {images[1], images[0]};
    struct digest expected = pcr4_of(images, 2);
    struct pcr_values values = predicted(images, 2);

    assert_memory_equal(values.value[4].bytes, expected.bytes, 48);
    values = predicted(swapped, 2);
    assert_memory_not_equal(values.value[4].bytes, expected.bytes, 48);
    buffer_free(&images[0]);
    buffer_free(&images[1]);
}

/* systemd-stub 252 to 257 hands the kernel to the firmware, but not with Secure Boot; others never
 * do. */
TEST(stub_version_decides)
{
    static const struct {
        const char *section;
        struct bytes text;
        bool kernel_measured;
    } cases[] = {
        {".data", MAGIC("247.3-7"), false},
        {".sdmagic", MAGIC("251"), false},
        {".sdmagic", MAGIC("252.39-1~deb12u2"), true},
        {".sdmagic", MAGIC("257.13-1~deb13u1"), true},
        {".sdmagic", MAGIC("258"), false},
        {".sdmagic", MAGIC("260~rc1"), false},
        {".sbat", SBAT("257"), true},
        {".sbat", SBAT("258"), false},
    };
    static const struct secure_boot on = {0};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer images[] = {uki(cases[i].section, cases[i].text), simple_image("kernel")};
        struct digest expected = pcr4_of(images, cases[i].kernel_measured ? 2 : 1);
        struct pcr_values values = predicted(images, 1);

        assert_memory_equal(values.value[4].bytes, expected.bytes, 48);
        values = predicted_with(images, 1, PCR_BIT(4), &on, "");
        expected = pcr4_of(images, 1);
        assert_memory_equal(values.value[4].bytes, expected.bytes, 48);
        buffer_free(&images[0]);
        buffer_free(&images[1]);
    }
}

TEST(unknown_stubs_are_refused)
{
    static const struct {
        const char *section;
        struct bytes text;
    } cases[] = {
        {".sdmagic", MAGIC("")},
        {".sdmagic", TEXT("#### LoaderInfo: other-stub 257 ####")},
        {".sbat", TEXT("other,1,Other,other,257,x\n")},
        {".other", TEXT("x")},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer image = uki(cases[i].section, cases[i].text);

        expect_refusal(&image, 1, PCR_BIT(4), "", MU_CONFIG, "image 1: a UKI whose stub");
        buffer_free(&image);
    }
}

static void extend_text(struct digest *pcr, struct bytes text)
{
    struct digest value;

    assert_int_equal(hash_bytes(HASH_SHA384, text, &value, &err), MU_OK);
    extend(pcr, &value);
}

/* Whatever their order in the file; .pcrsig never, .uname and .sbat not by 252. */
TEST(sections_are_measured_in_their_own_order)
{
    static const struct {
        struct bytes magic;
        bool more;
    } cases[] = {
        {MAGIC("252.1"), false}, {MAGIC("253"), false}, {MAGIC("254"), true}, {MAGIC("258"), true}};
    struct buffer kernel = simple_image("kernel");

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct made_section sections[] = {
            {".initrd", TEXT("initrd")}, {".pcrsig", TEXT("{}")},         {".uname", TEXT("6.1")},
            {".osrel", TEXT("ID=x")},    {".sdmagic", cases[i].magic},    {".sbat", TEXT("sbat,1")},
            {".pcrpkey", TEXT("key")},   {".linux", buffer_view(&kernel)}};
        struct buffer image = made_pe(sections, 8, TEXT(""), 0);
        struct pcr_values values = predicted_with(&image, 1, PCR_BIT(11), NULL, "one:two");
        struct digest expected = {{0}};

        extend_text(&expected, TEXT(".linux\0"));
        extend_text(&expected, buffer_view(&kernel));
        extend_text(&expected, TEXT(".osrel\0"));
        extend_text(&expected, TEXT("ID=x"));
        extend_text(&expected, TEXT(".initrd\0"));
        extend_text(&expected, TEXT("initrd"));
        if (cases[i].more) {
            extend_text(&expected, TEXT(".uname\0"));
            extend_text(&expected, TEXT("6.1"));
            extend_text(&expected, TEXT(".sbat\0"));
            extend_text(&expected, TEXT("sbat,1"));
        }
        extend_text(&expected, TEXT(".pcrpkey\0"));
        extend_text(&expected, TEXT("key"));
        extend_text(&expected, TEXT("one"));
        extend_text(&expected, TEXT("two"));
        assert_memory_equal(values.value[11].bytes, expected.bytes, 48);
        buffer_free(&image);
    }
    buffer_free(&kernel);
}

static struct buffer loader(struct bytes magic)
{
    const struct made_section sections[] = {{".text", TEXT("loader")}, {".sdmagic", magic}};

    return made_pe(sections, 2, TEXT(""), 0);
}

#define LOADER(version) TEXT("#### LoaderInfo: systemd-boot " version " ####\0")

TEST(unknown_pcr_11_is_refused)
{
    static const struct made_section with_profile[] = {
        {".sdmagic", MAGIC("257")}, {".linux", TEXT("kernel")}, {".profile", TEXT("ID=x")}};
    struct buffer profile = made_pe(with_profile, 3, TEXT(""), 0);
    struct buffer old = uki(".sdmagic", MAGIC("251")), good = uki(".sdmagic", MAGIC("257"));
    struct buffer boot = loader(LOADER("257")), shim = simple_image("UEFI SHIM\n$Version: 15.8 $");

    expect_refusal(&profile, 1, PCR_BIT(11), "", MU_CONFIG, "section '.profile'");
    expect_refusal(&old, 1, PCR_BIT(11), "", MU_CONFIG, "systemd-stub 251");
    expect_refusal(&boot, 1, PCR_BIT(11), "", MU_CONFIG, "image 1 starts another one");
    expect_refusal(&shim, 1, PCR_BIT(11), "", MU_CONFIG, "image 1 starts another one");
    expect_refusal(&good, 1, PCR_BIT(11), "a::b", MU_USAGE, "an empty phase");
    (void)predicted_with(&good, 1, PCR_BIT(11), NULL, "a:b");
    buffer_free(&profile);
    buffer_free(&old);
    buffer_free(&good);
    buffer_free(&boot);
    buffer_free(&shim);
}

/* Nor does systemd-pcrphase measure where no stub has. */
TEST(without_a_uki_pcr_11_is_zero)
{
    struct buffer images[] = {simple_image("UEFI SHIM\n$Version: 15.8 $"), simple_image("grub"),
                              simple_image("kernel")};
    struct pcr_values values = predicted_with(images, 3, PCR_BIT(11), NULL, "enter-initrd");

    assert_true(bytes_all_zero((struct bytes){values.value[11].bytes, 48}));
    for (size_t i = 0; i < 3; i++)
        buffer_free(&images[i]);
}

static struct buffer uki_with(struct bytes magic, struct bytes command_line)
{
    struct buffer kernel = simple_image("kernel"), ret;
    const struct made_section sections[] = {
        {".sdmagic", magic}, {".cmdline", command_line}, {".linux", buffer_view(&kernel)}};

    ret = made_pe(sections, 3, TEXT(""), 0);
    buffer_free(&kernel);
    return ret;
}

/* Up to 254, systemd-boot measures the command line of a UKI and hands it over; the stub then
 * measures it, too, if it takes it: not with Secure Boot. */
TEST(command_line_handed_over)
{
    static const struct {
        struct bytes loader, stub;
        unsigned off, on; /* how often it is measured */
    } cases[] = {
        {LOADER("251"), MAGIC("251"), 0, 0},      {LOADER("251"), MAGIC("252"), 1, 0},
        {LOADER("252.39-1"), MAGIC("252"), 2, 1}, {LOADER("252.39-1"), MAGIC("251"), 1, 1},
        {LOADER("254.1"), MAGIC("257"), 2, 1},    {LOADER("255"), MAGIC("255"), 0, 0},
        {LOADER("257.13"), MAGIC("252"), 0, 0},
    };
    static const struct secure_boot on = {0};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer images[] = {loader(cases[i].loader),
                                  uki_with(cases[i].stub, TEXT("a\tb\n\0rest"))};
        struct digest expected = {{0}};
        struct pcr_values values;

        for (unsigned n = 0; n < cases[i].off; n++) {
            if (n == cases[i].on) {
                values = predicted_with(images, 2, PCR_BIT(12), &on, "");
                assert_memory_equal(values.value[12].bytes, expected.bytes, 48);
            }
            extend_text(&expected, TEXT("a\0 \0b\0\0\0"));
        }
        values = predicted_with(images, 2, PCR_BIT(12), NULL, "");
        assert_memory_equal(values.value[12].bytes, expected.bytes, 48);
        buffer_free(&images[0]);
        buffer_free(&images[1]);
    }
}

TEST(boot_loaders_and_pcr_12)
{
    static const struct bytes unclear[] = {TEXT(" a"), TEXT("\n"), TEXT("caf\xc3\xa9")};
    struct buffer fine[] = {loader(LOADER("257.13")), uki(".sdmagic", MAGIC("257"))};
    struct buffer plain[] = {fine[0], simple_image("kernel")};
    struct pcr_values values = predicted(fine, 2);

    assert_true(bytes_all_zero((struct bytes){values.value[12].bytes, 48}));
    expect_refusal(plain, 2, PCR_BIT(12), "", MU_CONFIG, "name the UKI next");
    expect_refusal(fine, 1, PCR_BIT(12), "", MU_CONFIG, "name the UKI next");
    for (size_t i = 0; i < sizeof(unclear) / sizeof(unclear[0]); i++) {
        struct buffer old[] = {loader(LOADER("252.39")), uki_with(MAGIC("252"), unclear[i])};

        expect_refusal(old, 2, PCR_BIT(12), "", MU_CONFIG, "versions differ");
        (void)predicted_with(old, 2, PCR_BIT(4), NULL, "");
        buffer_free(&old[0]);
        buffer_free(&old[1]);
    }
    buffer_free(&fine[0]);
    buffer_free(&fine[1]);
    buffer_free(&plain[1]);
}

/* What is optional and unknown is left out; what Secure Boot forbids is never passed over. */
TEST(optional_pcrs_are_left_out)
{
    struct buffer images[] = {simple_image("UEFI SHIM\n$Version: 15.8 $"), loader(LOADER("257"))};
    const struct bytes views[] = {buffer_view(&images[0]), buffer_view(&images[1])};
    struct predict_request request = {.bank = HASH_SHA384,
                                      .mask = ALL,
                                      .optional = ~PCR_BIT(4),
                                      .images = views,
                                      .count = 2,
                                      .phases = ""};
    struct digest expected = pcr4_of(images, 2);
    static const struct secure_boot on = {0};
    struct pcr_values values;

    assert_int_equal(predict_values(&request, &values, &err), MU_OK);
    assert_int_equal(values.mask, PCR_BIT(2) | PCR_BIT(3) | PCR_BIT(4) | PCR_BIT(13));
    assert_memory_equal(values.value[4].bytes, expected.bytes, 48);
    request.images = &views[1];
    request.count = 1;
    request.keys = &on;
    assert_int_equal(predict_values(&request, &values, &err), MU_REFUSE);
    buffer_free(&images[0]);
    buffer_free(&images[1]);
}

TEST(shim_makes_pcr_7_unknown)
{
    struct buffer images[] = {simple_image("UEFI SHIM\n$Version: 15.8 $"), simple_image("grub")};

    expect_refusal(images, 2, PCR_BIT(7), "", MU_CONFIG, "use --pcr 4,12");
    expect_refusal(images, 2, PCR_BIT(14), "", MU_CONFIG, "machine owner's keys");
    (void)predicted_with(images, 2, PCR_BIT(4) | PCR_BIT(12), NULL, "");
    buffer_free(&images[0]);
    buffer_free(&images[1]);
}

/* A real boot with these keys: systemd-boot and a UKI, both signed with the key in db. */
TEST(secure_boot_is_as_in_a_real_log)
{
    struct buffer pk = data_load("secureboot/PK.esl"), kek = data_load("secureboot/KEK.esl"),
                  db = data_load("secureboot/db.esl");
    struct buffer image = data_load("secureboot/direct.efi"),
                  raw = data_load("secureboot/eventlog.bin");
    const struct secure_boot keys = {
        .pk = buffer_view(&pk), .kek = buffer_view(&kek), .db = buffer_view(&db)};
    struct buffer images[] = {image, image}; /* what db knows is measured once */
    struct pcr_values values = predicted_with(images, 2, PCR_BIT(7), &keys, ""), real;
    struct eventlog log;

    assert_int_equal(eventlog_parse(buffer_view(&raw), &log, &err), MU_OK);
    assert_int_equal(eventlog_replay(&log, HASH_SHA384, &real, &err), MU_OK);
    assert_memory_equal(values.value[7].bytes, real.value[7].bytes, 48);
    values = predicted_with(images, 2, PCR_BIT(7), NULL, "");
    assert_memory_not_equal(values.value[7].bytes, real.value[7].bytes, 48);
    eventlog_free(&log);
    buffer_free(&pk);
    buffer_free(&kek);
    buffer_free(&db);
    buffer_free(&image);
    buffer_free(&raw);
}

TEST(bad_requests_are_refused)
{
    struct buffer images[] = {uki(".sdmagic", MAGIC("257")), simple_image("kernel")};
    struct buffer cut = {images[0].data, images[0].len - 512};

    expect_refusal(images, 2, ALL, "", MU_CONFIG, "no image follows");
    expect_refusal(images, 1, PCR_BIT(0), "", MU_CONFIG, "only PCR 2, 3, 4, 7, 11");
    expect_refusal(images, 1, 0, "", MU_CONFIG, "only PCR 2, 3, 4, 7, 11");
    expect_refusal(images, 0, ALL, "", MU_CONFIG, "a prediction needs");
    expect_refusal(&cut, 1, ALL, "", MU_CONFIG, "image 1: ");
    buffer_free(&images[0]);
    buffer_free(&images[1]);
}

/* objcopy drops .sdmagic and .sbat from the stub of AL2023 on aarch64; only its .osrel tells whose
 * it is. */
TEST(amazon_linux_2023_is_known_by_its_release)
{
    struct buffer kernel = simple_image("kernel");
    const struct made_section other[] = {{".osrel", TEXT("NAME=\"Debian\"\nVERSION=\"12\"\n")},
                                         {".linux", buffer_view(&kernel)}};
    const struct made_section amazon[] = {
        {".osrel", TEXT("ID=\"amzn\"\nNAME=\"Amazon Linux\"\nVERSION=\"2023\"\n")},
        {".linux", buffer_view(&kernel)}};
    struct buffer pair[] = {made_pe(amazon, 2, TEXT(""), 0), kernel};
    struct buffer unknown = made_pe(other, 2, TEXT(""), 0);
    struct digest expected = pcr4_of(pair, 2);
    struct pcr_values values = predicted(pair, 1);

    assert_memory_equal(values.value[4].bytes, expected.bytes, 48);
    expect_refusal(&unknown, 1, PCR_BIT(4), "", MU_CONFIG, "not systemd-stub");
    buffer_free(&pair[0]);
    buffer_free(&kernel);
    buffer_free(&unknown);
}

/* ukify 257.0 to 257.2: VirtualSize is the kernel's SizeOfImage, and LoadImage() is given the
 * memory. */
TEST(kernel_is_measured_as_it_lies_in_memory)
{
    struct buffer image = uki(".sdmagic", MAGIC("257-1"));
    struct buffer kernel = simple_image("kernel");
    struct buffer pair[] = {image, {calloc(1, 8192), 8192}};
    struct digest expected;
    struct pcr_values values;

    assert_non_null(pair[1].data);
    memcpy(pair[1].data, kernel.data, kernel.len);
    put_le(image.data + PE_SECTIONS + 2 * 40 + 8, 8192, 4); /* .linux is the third */
    expected = pcr4_of(pair, 2);
    values = predicted(pair, 1);
    assert_memory_equal(values.value[4].bytes, expected.bytes, 48);
    buffer_free(&pair[0]);
    buffer_free(&pair[1]);
    buffer_free(&kernel);
}
