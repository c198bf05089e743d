/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "jose/token.h"

#include <string.h>

#include "jose/token_parts.h"

enum mu_status token_split(const char *token, struct bytes *ret, size_t count, struct mu_error *err)
{
    size_t len = strnlen(token, TOKEN_MAX + 1);

    if (len > TOKEN_MAX)
        return mu_fail(err, MU_REFUSE, "the token is longer than %d characters", TOKEN_MAX);
    for (size_t i = 0; i < count; i++) {
        size_t part = strcspn(token, ".");

        ret[i] = (struct bytes){(const uint8_t *)token, part};
        token += part;
        if (*token != (i + 1 < count ? '.' : '\0'))
            return mu_fail(err, MU_REFUSE, "the token does not have %zu parts", count);
        token++;
    }
    return MU_OK;
}

enum mu_status token_header(struct bytes part, const char *const *members, json_object **ret,
                            struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    MU_CLEANUP(json_free) json_object *header = NULL;

    MU_TRY(base64url_decode(part, TOKEN_MAX, MU_REFUSE, &text, err));
    MU_TRY(json_parse(buffer_view(&text), "token header", MU_REFUSE, &header, err));
    MU_TRY(json_only(header, "token header", members, MU_REFUSE, err));
    *ret = MU_TAKE(header);
    return MU_OK;
}

enum mu_status token_header_is(json_object *header, const char *name, const char *value,
                               bool optional, struct mu_error *err)
{
    const char *found;

    if (optional && !json_object_object_get_ex(header, name, NULL))
        return MU_OK;
    MU_TRY(json_string(header, name, 64, MU_REFUSE, &found, err));
    if (strcmp(found, value) != 0)
        return mu_fail(err, MU_REFUSE, "token header: \"%s\" is '%s', not '%s'", name, found,
                       value);
    return MU_OK;
}

enum mu_status token_encode_json(json_object *object, char **ret, struct mu_error *err)
{
    const char *text = json_text(object);

    if (text == NULL)
        return mu_oom(err);
    return base64url_encode(text_view(text), ret, err);
}
