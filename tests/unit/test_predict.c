/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "made_pe.h"
#include "measure/authenticode.h"
#include "measure/predict.h"
#include "vectors.h"

#define TEXT(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})
#define MAGIC(version) TEXT("#### LoaderInfo: systemd-stub " version " ####\0")
#define SBAT(version) TEXT("sbat,1\nsystemd-stub,1,The systemd Developers,systemd," version ",x\n")
#define ALL (PCR_BIT(4) | PCR_BIT(7) | PCR_BIT(12))

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
    struct mu_error err;

    assert_int_equal(hash_extend(HASH_SHA384, pcr, value->bytes, &err), MU_OK);
}

/* PCR 4 after the action, the separator and these images. */
static struct digest pcr4_of(const struct buffer *images, size_t count)
{
    struct digest pcr = {{0}}, value;
    struct mu_error err;

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

static struct pcr_values predicted(const struct buffer *images, size_t count)
{
    struct bytes views[4];
    struct pcr_values values;
    struct mu_error err;

    for (size_t i = 0; i < count; i++)
        views[i] = buffer_view(&images[i]);
    if (predict(views, count, HASH_SHA384, ALL, &values, &err) != MU_OK)
        fail_msg("%s", err.text);
    assert_int_equal(values.mask, ALL);
    return values;
}

/* As found on EC2 instances, and computed independently. */
static void pcr7_and_12_are_known(void **state)
{
    struct buffer text = vector_load("authenticode/expected.json");
    struct buffer image = simple_image("loader");
    struct pcr_values values = predicted(&image, 1);
    json_object *expected = NULL;
    struct mu_error err;
    char hex[2 * HASH_MAX_SIZE + 1];

    (void)state;
    assert_int_equal(json_parse(buffer_view(&text), "expected", MU_CONFIG, &expected, &err), MU_OK);
    hex_encode((struct bytes){values.value[7].bytes, 48}, hex);
    assert_string_equal(hex, json_object_get_string(
                                 json_object_object_get(expected, "pcr7_secure_boot_off_sha384")));
    assert_true(bytes_all_zero((struct bytes){values.value[12].bytes, 48}));
    json_free(&expected);
    buffer_free(&text);
    buffer_free(&image);
}

static void images_count_in_order(void **state)
{
    struct buffer images[] = {simple_image("shim"), simple_image("loader")};
    struct buffer swapped[] = {images[1], images[0]};
    struct digest expected = pcr4_of(images, 2);
    struct pcr_values values = predicted(images, 2);

    (void)state;
    assert_memory_equal(values.value[4].bytes, expected.bytes, 48);
    values = predicted(swapped, 2);
    assert_memory_not_equal(values.value[4].bytes, expected.bytes, 48);
    buffer_free(&images[0]);
    buffer_free(&images[1]);
}

/* systemd-stub 252 to 257 hands the kernel to the firmware, later ones do not. */
static void stub_version_decides(void **state)
{
    static const struct {
        const char *section;
        struct bytes text;
        bool kernel_measured;
    } cases[] = {
        {".sdmagic", MAGIC("252.39-1~deb12u2"), true},
        {".sdmagic", MAGIC("257.13-1~deb13u1"), true},
        {".sdmagic", MAGIC("258"), false},
        {".sdmagic", MAGIC("260~rc1"), false},
        {".sbat", SBAT("257"), true},
        {".sbat", SBAT("258"), false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer images[] = {uki(cases[i].section, cases[i].text), simple_image("kernel")};
        struct digest expected = pcr4_of(images, cases[i].kernel_measured ? 2 : 1);
        struct pcr_values values = predicted(images, 1);

        assert_memory_equal(values.value[4].bytes, expected.bytes, 48);
        buffer_free(&images[0]);
        buffer_free(&images[1]);
    }
}

static void unknown_stubs_are_refused(void **state)
{
    static const struct {
        const char *section;
        struct bytes text;
    } cases[] = {
        {".sdmagic", MAGIC("251")},
        {".sdmagic", MAGIC("")},
        {".sdmagic", TEXT("#### LoaderInfo: other-stub 257 ####")},
        {".sbat", TEXT("other,1,Other,other,257,x\n")},
        {".other", TEXT("x")},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer image = uki(cases[i].section, cases[i].text);
        struct bytes view = buffer_view(&image);
        struct pcr_values values;
        struct mu_error err;

        assert_int_equal(predict(&view, 1, HASH_SHA384, PCR_BIT(4), &values, &err), MU_CONFIG);
        assert_non_null(strstr(err.text, "image 1: a UKI whose stub"));
        buffer_free(&image);
    }
}

static void bad_requests_are_refused(void **state)
{
    struct buffer images[] = {uki(".sdmagic", MAGIC("257")), simple_image("kernel")};
    struct bytes views[] = {buffer_view(&images[0]), buffer_view(&images[1])};
    struct pcr_values values;
    struct mu_error err;

    (void)state;
    assert_int_equal(predict(views, 2, HASH_SHA384, ALL, &values, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "no image follows"));
    assert_int_equal(predict(views, 1, HASH_SHA384, PCR_BIT(0), &values, &err), MU_CONFIG);
    assert_int_equal(predict(views, 1, HASH_SHA384, 0, &values, &err), MU_CONFIG);
    assert_int_equal(predict(views, 0, HASH_SHA384, ALL, &values, &err), MU_CONFIG);
    assert_int_equal(predict(views, 0, HASH_SHA384, PCR_BIT(12), &values, &err), MU_OK);
    views[0].len -= 512;
    assert_int_equal(predict(views, 1, HASH_SHA384, ALL, &values, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "image 1: "));
    buffer_free(&images[0]);
    buffer_free(&images[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pcr7_and_12_are_known),    cmocka_unit_test(images_count_in_order),
        cmocka_unit_test(stub_version_decides),     cmocka_unit_test(unknown_stubs_are_refused),
        cmocka_unit_test(bad_requests_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
