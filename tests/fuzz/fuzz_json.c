/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON as every other parser reads it, and the texts that bytes are written as. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static void members(json_object *object)
{
    static const char *const names[] = {"a", "b", "\xc3\xa9", NULL};
    MU_CLEANUP(json_free) json_object *copy = json_object_new_object();
    MU_CLEANUP(buffer_free) struct buffer decoded = {0};
    json_object *array = json_object_new_array();
    struct mu_error err = {0};
    json_object *list = NULL;
    const char *text = NULL;
    int64_t number = 0;
    enum mu_status status;

    status = json_string(object, "a", 8, MU_REFUSE, &text, &err);
    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    fuzz_require(status != MU_OK || (strlen(text) >= 1 && strlen(text) <= 8), "1 to 8 bytes");
    status = json_integer(object, "b", -5, INT64_MAX, MU_REFUSE, &number, &err);
    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    fuzz_require(status != MU_OK || number >= -5, "a number within its bounds");
    status = json_member(object, "a", json_type_array, MU_CONFIG, &list, &err);
    fuzz_outcome(status, &err, 1u << MU_CONFIG);
    status = json_only(object, "it", names, MU_REFUSE, &err);
    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    fuzz_require(status != MU_OK || json_object_object_length(object) <= 3, "no other members");
    status = json_base64(object, "a", 5, MU_REFUSE, &decoded, &err);
    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    fuzz_require(status != MU_OK || decoded.len <= 5, "no longer than allowed");
    fuzz_require(json_add(copy, "list", array) && json_add_null(copy, "none") &&
                     (object == NULL || json_append(array, json_object_get(object))) &&
                     json_text(copy) != NULL,
                 "memory");
    fuzz_require(!json_append(array, NULL), "nothing is not appended");
}

static void texts(const char *text)
{
    MU_CLEANUP(buffer_free) struct buffer decoded = {0};
    MU_CLEANUP(string_free) char *encoded = NULL;
    struct mu_error err = {0};
    enum mu_status status = base64_decode(text, 4096, MU_CONFIG, &decoded, &err);
    size_t digits = strlen(text) / 2;
    uint8_t *raw = malloc(digits + 1);
    char *hex = malloc(2 * digits + 1);

    fuzz_outcome(status, &err, 1u << MU_CONFIG);
    if (status == MU_OK) {
        fuzz_require(base64_encode(buffer_view(&decoded), &encoded, &err) == MU_OK &&
                         strcmp(encoded, text) == 0,
                     "there is one base64 of some bytes");
        fuzz_require(decoded.len <= 4096, "no longer than allowed");
    }
    fuzz_require(raw != NULL && hex != NULL, "memory");
    if (hex_decode(text, raw, digits)) {
        hex_encode((struct bytes){raw, digits}, hex);
        fuzz_require(strcasecmp(hex, text) == 0, "hex is what was decoded");
    }
    free(raw);
    free(hex);
}

static void url_texts(struct bytes text)
{
    MU_CLEANUP(buffer_free) struct buffer decoded = {0};
    MU_CLEANUP(string_free) char *encoded = NULL;
    struct mu_error err = {0};
    enum mu_status status = base64url_decode(text, 4096, MU_REFUSE, &decoded, &err);

    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    if (status == MU_OK)
        fuzz_require(base64url_encode(buffer_view(&decoded), &encoded, &err) == MU_OK &&
                         bytes_equal(text, text_view(encoded)),
                     "there is one base64url of some bytes");
}

/* What the reader reads, the writer writes. */
static void numbers(struct bytes input)
{
    uint8_t copy[15];
    struct reader r = reader_of(input);
    struct reader little = reader_of(input);
    struct writer w = writer_into(copy, sizeof(copy));
    struct writer small = writer_into(copy, 1);
    uint64_t low;

    writer_u8(&w, reader_u8(&r));
    writer_be16(&w, reader_be16(&r));
    writer_be32(&w, reader_be32(&r));
    writer_bytes(&w, reader_take(&r, 8));
    fuzz_require(r.failed
                     ? input.len < 15
                     : !w.failed && reader_offset(&r) == 15 &&
                           bytes_equal((struct bytes){copy, 15}, (struct bytes){input.data, 15}),
                 "what was written is what was read");
    low = reader_le16(&little) + reader_le32(&little) + reader_le64(&little);
    fuzz_require(!little.failed || reader_be64(&little) == 0, "nothing after a failure");
    writer_be16(&small, (uint16_t)low);
    fuzz_require(small.failed && small.len <= 1, "the writer stays within its memory");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MU_CLEANUP(json_wipe) json_object *object = NULL;
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    struct bytes input = {data, size};
    struct mu_error err = {0};
    enum mu_status status = json_parse(input, "input", MU_REFUSE, &object, &err);

    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    if (status == MU_OK)
        members(object);
    fuzz_require(buffer_alloc(&text, size + 1, &err) == MU_OK, "memory");
    if (size > 0)
        memcpy(text.data, data, size);
    texts((const char *)text.data);
    url_texts(input);
    numbers(input);
    return 0;
}
