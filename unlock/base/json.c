/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/json.h"

#include <json-c/json_visit.h>
#include <json-c/printbuf.h>

#include <limits.h>
#include <string.h>

#include "base/utf8.h"

#define JSON_DEPTH 16

void json_free(json_object **object)
{
    (void)json_object_put(*object);
    *object = NULL;
}

/* The parser bounds the depth. */
static void wipe_strings(json_object *object)
{
    if (json_object_is_type(object, json_type_string)) {
        explicit_bzero((void *)json_object_get_string(object),
                       (size_t)json_object_get_string_len(object));
    } else if (json_object_is_type(object, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(object); i++)
            wipe_strings(json_object_array_get_idx(object, i));
    } else if (json_object_is_type(object, json_type_object)) {
        json_object_object_foreach(object, name, value)
        {
            (void)name;
            wipe_strings(value);
        }
    }
}

void json_wipe(json_object **object)
{
    wipe_strings(*object);
    json_free(object);
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static uint8_t peek(const struct reader *r)
{
    return reader_left(r) > 0 ? *r->pos : 0;
}

static bool accept(struct reader *r, const char *any_of)
{
    uint8_t c = peek(r);

    if (c == 0 || strchr(any_of, c) == NULL)
        return false;
    r->pos++;
    return true;
}

static bool digits(struct reader *r)
{
    const uint8_t *start = r->pos;

    while (is_digit(peek(r)))
        r->pos++;
    return r->pos > start;
}

/* RFC 8259, 6 */
static bool scan_number(struct reader *r)
{
    (void)accept(r, "-");
    if (!accept(r, "0") && !digits(r))
        return false;
    if (accept(r, ".") && !digits(r))
        return false;
    if (accept(r, "eE")) {
        (void)accept(r, "+-");
        return digits(r);
    }
    return true;
}

/* RFC 8259, 7, after the opening quote. A zero byte, also as \u0000, is refused: names and values
 * are C strings in json-c and would end there. */
static bool scan_string(struct reader *r)
{
    uint8_t code[2];
    char hex[5] = "";

    for (;;) {
        uint8_t c = reader_u8(r);

        if (c < 0x20)
            return false;
        if (c == '"')
            return true;
        if (c != '\\' || accept(r, "\"\\/bfnrt"))
            continue;
        if (!accept(r, "u"))
            return false;
        reader_copy(r, hex, 4);
        if (!hex_decode(hex, code, sizeof(code)) || bytes_all_zero((struct bytes){code, 2}))
            return false;
    }
}

static bool is_utf8(struct bytes text)
{
    struct reader r = reader_of(text);
    uint32_t character;

    while (utf8_next(&r, &character))
        ;
    return reader_left(&r) == 0;
}

static bool scan_name(struct reader *r)
{
    static const char *const names[] = {"true", "false", "null"};

    for (size_t i = 0; i < MU_COUNT(names); i++) {
        size_t len = strlen(names[i]);

        if (reader_left(r) >= len && memcmp(r->pos, names[i], len) == 0) {
            r->pos += len;
            return true;
        }
    }
    return false;
}

/* A number or a name, up to its end. */
static bool scan_word(struct reader *r)
{
    if (!scan_name(r) && !scan_number(r))
        return false;
    return reader_left(r) == 0 || is_space(*r->pos) || strchr(",]}", *r->pos) != NULL;
}

/* json-c knows the grammar but is lax about its words (NaN, Infinity, 01, 'a', control characters,
 * trailing commas, comments, broken UTF-8), and its strict mode refuses all that is not ASCII in
 * release 0.18: so these are checked here. Counts the members as they are written. */
static bool scan(struct bytes text, size_t *ret_members)
{
    struct reader r = reader_of(text);
    bool comma = false;
    size_t members = 0;

    while (reader_left(&r) > 0) {
        bool after_comma = comma;

        if (is_space(*r.pos)) {
            r.pos++;
            continue;
        }
        comma = accept(&r, ",");
        if (comma || accept(&r, "{["))
            continue;
        if (accept(&r, "}]")) {
            if (after_comma)
                return false;
        } else if (accept(&r, ":")) {
            members++;
        } else if (accept(&r, "\"")) {
            if (!scan_string(&r))
                return false;
        } else if (!scan_word(&r)) {
            return false;
        }
    }
    *ret_members = members;
    return !r.failed;
}

static int count_member(json_object *object, int flags, json_object *parent, const char *name,
                        size_t *index, void *count)
{
    (void)object;
    (void)parent;
    (void)index;
    if (name != NULL && flags != JSON_C_VISIT_SECOND)
        ++*(size_t *)count;
    return JSON_C_VISIT_RETURN_CONTINUE;
}

static void free_tokener(json_tokener **tokener)
{
    if (*tokener == NULL)
        return;
    explicit_bzero((*tokener)->pb->buf, (size_t)(*tokener)->pb->size);
    json_tokener_free(*tokener);
}

/* Strings pass through the tokener's buffer. One that need not grow leaves no copies behind. */
static bool grow_buffer(json_tokener *tokener, size_t len)
{
    bool grown = printbuf_memset(tokener->pb, 0, 0, (int)len) == 0;

    printbuf_reset(tokener->pb);
    return grown;
}

static enum mu_status parse_strictly(struct bytes text, const char *what, enum mu_status status,
                                     json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(free_tokener) json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH);
    MU_CLEANUP(json_wipe) json_object *object = NULL;
    enum json_tokener_error error;
    size_t end;

    if (tokener == NULL || !grow_buffer(tokener, text.len))
        return mu_oom(err);
    object = json_tokener_parse_ex(tokener, (const char *)text.data, (int)text.len);
    end = json_tokener_get_parse_end(tokener);
    /* The end of a number shows only when something follows it. */
    if (json_tokener_get_error(tokener) == json_tokener_continue)
        object = json_tokener_parse_ex(tokener, " ", 1);
    error = json_tokener_get_error(tokener);
    if (error == json_tokener_continue)
        return mu_fail(err, status, "%s: not JSON: it ends too early", what);
    if (error != json_tokener_success)
        return mu_fail(err, status, "%s: not JSON: %s", what, json_tokener_error_desc(error));
    while (end < text.len && is_space(text.data[end]))
        end++;
    if (end != text.len)
        return mu_fail(err, status, "%s: not JSON: something follows the value", what);
    *ret = MU_TAKE(object);
    return MU_OK;
}

/* What PowerShell's redirection and "Out-File -Encoding utf8" write (RFC 8259, 8.1). */
static const char *foreign_encoding(struct bytes text)
{
    static const uint8_t mark[] = {0xef, 0xbb, 0xbf};

    if (text.len >= sizeof(mark) && memcmp(text.data, mark, sizeof(mark)) == 0)
        return "it begins with a byte order mark: save it as UTF-8 without one";
    if (text.len >= 2 &&
        ((text.data[0] == 0xff && text.data[1] == 0xfe) ||
         (text.data[0] == 0xfe && text.data[1] == 0xff) || text.data[0] == 0 || text.data[1] == 0))
        return "it is in UTF-16 or UTF-32: save it as UTF-8";
    return NULL;
}

enum mu_status json_parse(struct bytes text, const char *what, enum mu_status status,
                          json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(json_wipe) json_object *object = NULL;
    size_t written = 0;
    size_t kept = 0;

    if (text.len >= INT_MAX)
        return mu_fail(err, status, "%s: too large for JSON", what);
    if (foreign_encoding(text) != NULL)
        return mu_fail(err, status, "%s: not JSON according to RFC 8259: %s", what,
                       foreign_encoding(text));
    if (!is_utf8(text) || !scan(text, &written))
        return mu_fail(err, status, "%s: not JSON according to RFC 8259", what);
    MU_TRY(parse_strictly(text, what, status, &object, err));
    (void)json_c_visit(object, 0, count_member, &kept);
    if (kept != written)
        return mu_fail(err, status, "%s: a JSON object has two members of one name", what);
    *ret = MU_TAKE(object);
    return MU_OK;
}

bool json_add(json_object *object, const char *name, json_object *value)
{
    if (object != NULL && value != NULL && json_object_object_add(object, name, value) == 0)
        return true;
    json_free(&value);
    return false;
}

bool json_add_text(json_object *object, const char *name, const char *text)
{
    return json_add(object, name, json_object_new_string(text));
}

bool json_add_null(json_object *object, const char *name)
{
    return object != NULL && json_object_object_add(object, name, NULL) == 0;
}

bool json_append(json_object *array, json_object *value)
{
    if (array != NULL && value != NULL && json_object_array_add(array, value) == 0)
        return true;
    json_object_put(value);
    return false;
}

const char *json_text(json_object *object)
{
    return json_object_to_json_string_ext(object,
                                          JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

enum mu_status json_member(json_object *object, const char *name, enum json_type type,
                           enum mu_status status, json_object **ret, struct mu_error *err)
{
    json_object *member = NULL;

    if (!json_object_is_type(object, json_type_object))
        return mu_fail(err, status, "\"%s\": the value around it is not a JSON object", name);
    if (!json_object_object_get_ex(object, name, &member))
        return mu_fail(err, status, "\"%s\" is missing", name);
    if (!json_object_is_type(member, type))
        return mu_fail(err, status, "\"%s\" is not of type %s", name, json_type_to_name(type));
    *ret = member;
    return MU_OK;
}

enum mu_status json_string(json_object *object, const char *name, size_t max, enum mu_status status,
                           const char **ret, struct mu_error *err)
{
    json_object *member;
    const char *text;
    size_t len;

    MU_TRY(json_member(object, name, json_type_string, status, &member, err));
    text = json_object_get_string(member);
    len = (size_t)json_object_get_string_len(member);
    if (len == 0 || len > max)
        return mu_fail(err, status, "\"%s\" must have 1 to %zu bytes", name, max);
    if (strlen(text) != len)
        return mu_fail(err, status, "\"%s\" holds a zero byte", name);
    *ret = text;
    return MU_OK;
}

const char *json_text_of(json_object *object, const char *name)
{
    json_object *member = NULL;

    return json_object_object_get_ex(object, name, &member) &&
                   json_object_is_type(member, json_type_string)
               ? json_object_get_string(member)
               : "";
}

enum mu_status json_base64(json_object *object, const char *name, size_t max, enum mu_status status,
                           struct buffer *ret, struct mu_error *err)
{
    const char *text;

    MU_TRY(json_string(object, name, 4 * (max / 3 + 1), status, &text, err));
    if (base64_decode(text, max, status, ret, err) == MU_OK)
        return MU_OK;
    if (err->status != status)
        return err->status;
    return mu_fail(err, status, "\"%s\" is not base64 of at most %zu bytes", name, max);
}

enum mu_status json_integer(json_object *object, const char *name, int64_t min, int64_t max,
                            enum mu_status status, int64_t *ret, struct mu_error *err)
{
    json_object *member;
    int64_t value;

    MU_TRY(json_member(object, name, json_type_int, status, &member, err));
    value = json_object_get_int64(member);
    /* json-c clamps to what the type holds: INT64_MAX and INT64_MIN may be anything beyond. */
    if (value < min || value > max || value == INT64_MAX || value == INT64_MIN)
        return mu_fail(err, status, "\"%s\" must be between %lld and %lld", name, (long long)min,
                       (long long)max);
    *ret = value;
    return MU_OK;
}

enum mu_status json_only(json_object *object, const char *what, const char *const *names,
                         enum mu_status status, struct mu_error *err)
{
    if (!json_object_is_type(object, json_type_object))
        return mu_fail(err, status, "%s is not a JSON object", what);
    json_object_object_foreach(object, key, value)
    {
        const char *const *name = names;

        (void)value;
        while (*name != NULL && strcmp(*name, key) != 0)
            name++;
        if (*name == NULL)
            return mu_fail(err, status, "%s: unknown member \"%.64s\"", what, key);
    }
    return MU_OK;
}
