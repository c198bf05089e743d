/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/manifest.h"

#include "build/manifest.h"
#include "build/predict.h"
#include "made_pe.h"
#include "measure/baseline.h"
#include "test.h"

#define TEXT(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})
#define HELLO "http://example.com/HelloWorld"

static const struct secure_boot off;

/* RFC 8032, 7.1, TEST 1 */
static EVP_PKEY *rfc8032_key(void)
{
    uint8_t seed[32];
    EVP_PKEY *key;

    assert_true(hex_decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", seed,
                           sizeof(seed)));
    key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof(seed));
    assert_non_null(key);
    return key;
}

/* DSSE, protocol.md, "Test Vectors" */
TEST(test_pre_authentication_encoding)
{
    struct buffer pae = {0};

    assert_int_equal(dsse_pae(HELLO, TEXT("hello world"), &pae, &err), MU_OK);
    assert_true(bytes_equal(buffer_view(&pae),
                            TEXT("DSSEv1 29 http://example.com/HelloWorld 11 hello world")));
    buffer_free(&pae);
    assert_int_equal(dsse_pae("", (struct bytes){0}, &pae, &err), MU_OK);
    assert_true(bytes_equal(buffer_view(&pae), TEXT("DSSEv1 0  0 ")));
    buffer_free(&pae);
}

/* docs/develop/formats.md */
TEST(test_envelope)
{
    static const char written[] =
        "{\"signatures\":[{\"keyid\":"
        "\"06e3fd8fda29bb60ab59557de61edb0aecdb231134be30e75b455f8e1b792fa9\",\"sig\":"
        "\"4DHX3Zn4qpBKvEj7maE8O9u9bjXEnPLLnyXVUJ2PXJR8DSLcL3QDpFvfJOj3pB/"
        "SPHsl6Jg4boxsMb6KvuYABw==\"}],\"payloadType\":\"http://example.com/"
        "HelloWorld\",\"payload\":"
        "\"aGVsbG8gd29ybGQ=\"}";
    struct public_keys keys = {{rfc8032_key()}, 1};
    const struct signer signer = {.from = "", .key = keys.key[0]};
    struct buffer pae = {0}, signature = {0}, payload = {0};
    json_object *envelope = NULL;

    assert_int_equal(dsse_pae(HELLO, TEXT("hello world"), &pae, &err), MU_OK);
    assert_int_equal(signer_sign(&signer, NULL, buffer_view(&pae), &signature, &err), MU_OK);
    assert_int_equal(dsse_wrap(HELLO, TEXT("hello world"), buffer_view(&signature), keys.key[0],
                               &envelope, &err),
                     MU_OK);
    assert_string_equal(json_text(envelope), written);
    assert_int_equal(dsse_open(text_view(json_text(envelope)), "it", HELLO, &keys, &payload, &err),
                     MU_OK);
    assert_true(bytes_equal(buffer_view(&payload), TEXT("hello world")));
    buffer_free(&payload);
    assert_int_equal(
        dsse_open(text_view(json_text(envelope)), "it", "other", &keys, &payload, &err), MU_CONFIG);
    json_free(&envelope);
    buffer_free(&signature);
    buffer_free(&pae);
    public_keys_free(&keys);
}

/* ---- statements ---- */

static struct buffer loader_image(const char *text)
{
    const struct made_section sections[] = {
        {".text", text_view(text)}, {".sdmagic", TEXT("#### LoaderInfo: systemd-boot 257.1 ####")}};

    return made_pe(sections, 2, TEXT(""), 0);
}

/* Its stub starts the kernel so that firmware measures that as well. */
static struct buffer uki_image(const char *text)
{
    const struct made_section section = {".text", text_view(text)};
    struct buffer kernel = made_pe(&section, 1, TEXT(""), 0), ret;
    const struct made_section sections[] = {
        {".sdmagic", TEXT("#### LoaderInfo: systemd-stub 257.1 ####")},
        {".linux", buffer_view(&kernel)}};

    ret = made_pe(sections, 2, TEXT(""), 0);
    buffer_free(&kernel);
    return ret;
}

static enum mu_status make(enum manifest_kind kind, const struct buffer *images, size_t count,
                           struct manifest *ret)
{
    struct manifest_file files[2];
    const struct manifest_request request = {.kind = kind,
                                             .name = "web",
                                             .version = "7",
                                             .source = "git+https://example.org/web@1f3a",
                                             .builder = "ci.example.org/4711",
                                             .images = files,
                                             .count = count,
                                             .keys = &off};
    struct buffer statement = {0};
    enum mu_status status;

    for (size_t i = 0; i < count; i++)
        files[i] = (struct manifest_file){"some.efi", buffer_view(&images[i])};
    status = manifest_make(&request, &statement, &err);
    if (status == MU_OK)
        status = manifest_parse(buffer_view(&statement), ret, &err);
    buffer_free(&statement);
    return status;
}

static struct pcr_values predict(const struct buffer *images, size_t count, enum hash_alg bank)
{
    struct bytes views[2];
    const struct predict_request request = {.bank = bank,
                                            .mask = BASELINE_PCRS,
                                            .images = views,
                                            .count = count,
                                            .keys = &off,
                                            .setup_mode = true,
                                            .phases = ""};
    struct pcr_values ret;

    for (size_t i = 0; i < count; i++)
        views[i] = buffer_view(&images[i]);
    assert_int_equal(predict_values(&request, &ret, &err), MU_OK);
    return ret;
}

TEST(test_boot_loader_and_uki_together)
{
    struct buffer images[] = {loader_image("loader"), uki_image("kernel")};
    struct manifest uki = {0}, loader = {0}, chain = {0};

    assert_int_equal(make(MANIFEST_IMAGE, &images[1], 1, &uki), MU_OK);
    assert_int_equal(make(MANIFEST_BOOT_LOADER, &images[0], 1, &loader), MU_OK);
    assert_int_equal(make(MANIFEST_IMAGE, images, 2, &chain), MU_OK);
    assert_true(uki.any_loader);
    assert_false(chain.any_loader);
    for (size_t i = 0; i < MANIFEST_BANKS; i++) {
        enum manifest_bank bank = (enum manifest_bank)i;
        struct pcr_values alone = predict(&images[1], 1, manifest_bank[i]), joined;
        struct pcr_values both = predict(images, 2, manifest_bank[i]);
        bool fits;

        assert_int_equal(pcr_differing(&uki.values[i], &alone) & alone.mask, 0);
        assert_int_equal(manifest_behind(&uki, &loader, bank, &fits, &joined, &err), MU_OK);
        assert_true(fits);
        assert_int_equal(joined.mask, both.mask);
        assert_int_equal(pcr_differing(&joined, &both) & both.mask, 0);
        assert_int_equal(pcr_differing(&joined, &alone) & both.mask, PCR_BIT(4));
        assert_int_equal(pcr_differing(&chain.values[i], &both) & both.mask, 0);
        assert_int_equal(manifest_behind(&chain, &loader, bank, &fits, &joined, &err), MU_OK);
        assert_false(fits);
        assert_int_equal(manifest_behind(&uki, &uki, bank, &fits, &joined, &err), MU_OK);
        assert_false(fits);
    }
    manifest_free(&uki);
    manifest_free(&loader);
    manifest_free(&chain);
    buffer_free(&images[0]);
    buffer_free(&images[1]);
}

struct starts {
    size_t alone, behind;
};

static enum mu_status count_start(const struct manifest *image, const struct manifest *loader,
                                  const struct pcr_values *values, void *context,
                                  struct mu_error *error)
{
    struct starts *starts = context;

    (void)error;
    assert_int_equal(image->kind, MANIFEST_IMAGE);
    assert_true((values->mask & PCR_BIT(4)) != 0);
    starts->alone += loader == NULL;
    starts->behind += loader != NULL;
    return MU_OK;
}

TEST(test_all_combinations)
{
    struct buffer images[] = {loader_image("1"), loader_image("2"), uki_image("1"), uki_image("2")};
    struct manifest manifest[4] = {0};
    const struct manifest *list[4];
    struct starts starts = {0};

    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(
            make(i < 2 ? MANIFEST_BOOT_LOADER : MANIFEST_IMAGE, &images[i], 1, &manifest[i]),
            MU_OK);
        list[i] = &manifest[i];
    }
    assert_int_equal(manifest_combine(list, 4, MANIFEST_SHA384, count_start, &starts, &err), MU_OK);
    assert_int_equal(starts.alone, 2);
    assert_int_equal(starts.behind, 4);
    for (size_t i = 0; i < 4; i++) {
        manifest_free(&manifest[i]);
        buffer_free(&images[i]);
    }
}

/* docs/develop/formats.md: the same request gives the same bytes. */
TEST(test_statement_is_always_the_same)
{
    struct buffer image = uki_image("kernel");
    struct manifest manifest = {0};

    assert_int_equal(make(MANIFEST_IMAGE, &image, 1, &manifest), MU_OK);
    assert_string_equal(manifest.id,
                        "9d3a5049034562a3858b6a25344dfb96766d5ae90d948cf1cf5629bfc689d910");
    assert_string_equal(manifest.name, "web");
    assert_string_equal(manifest.builder, "ci.example.org/4711");
    manifest_free(&manifest);
    buffer_free(&image);
}
