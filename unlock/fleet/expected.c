/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/expected.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/time.h"

#define FILE_MAX_BYTES ((size_t)1 << 30)

static enum mu_status add_instance(struct expected *expected, const char *id, json_object *object,
                                   struct mu_error *err)
{
    struct expected_instance *more, *instance;
    const char *state = json_text_of(json_object_object_get(object, "State"), "Name");

    if (strlen(id) >= sizeof(instance->id) || strncmp(id, "i-", 2) != 0 ||
        !text_is_word(text_view(id)))
        return mu_fail(err, MU_CONFIG, "an instance has an id like i-0123456789abcdef0");
    if ((expected->count & (expected->count - 1)) == 0) {
        more = reallocarray(expected->instance, expected->count == 0 ? 1 : 2 * expected->count,
                            sizeof(*more));
        if (more == NULL)
            return mu_oom(err);
        expected->instance = more;
    }
    instance = &expected->instance[expected->count++];
    *instance = (struct expected_instance){.runs = true};
    (void)snprintf(instance->id, sizeof(instance->id), "%s", id);
    if (state[0] != '\0')
        instance->runs = strcmp(state, "running") == 0 || strcmp(state, "pending") == 0;
    if (!time_parse(json_text_of(object, "LaunchTime"), &instance->started_ms))
        instance->started_ms = 0;
    return MU_OK;
}

/* Depth is bounded by json_parse. */
static enum mu_status add_all(struct expected *expected, json_object *value, struct mu_error *err)
{
    json_object *inner;

    if (json_object_is_type(value, json_type_string))
        return add_instance(expected, json_object_get_string(value), NULL, err);
    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            MU_TRY(add_all(expected, json_object_array_get_idx(value, i), err));
        return MU_OK;
    }
    if (!json_object_is_type(value, json_type_object))
        return mu_fail(err, MU_CONFIG, "neither instances nor their ids");
    if (json_text_of(value, "NextToken")[0] != '\0')
        return mu_fail(err, MU_CONFIG,
                       "a NextToken: these are not all instances; leave out --max-items and "
                       "--no-paginate");
    if (json_object_object_get_ex(value, "Reservations", &inner) ||
        json_object_object_get_ex(value, "Instances", &inner))
        return json_object_is_type(inner, json_type_array)
                   ? add_all(expected, inner, err)
                   : mu_fail(err, MU_CONFIG, "neither instances nor their ids");
    return add_instance(expected, json_text_of(value, "InstanceId"), value, err);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct expected_instance *)a)->id,
                  ((const struct expected_instance *)b)->id);
}

/* Of two that overlapping outputs name, the one that runs. */
static void keep_each_once(struct expected *expected)
{
    size_t kept = 0;

    for (size_t i = 0; i < expected->count; i++) {
        const struct expected_instance *next = &expected->instance[i];

        if (kept > 0 && by_id(&expected->instance[kept - 1], next) == 0)
            expected->instance[kept - 1].runs |= next->runs;
        else
            expected->instance[kept++] = *next;
    }
    expected->count = kept;
}

static enum mu_status parse(struct bytes text, struct expected *ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *value = NULL;

    MU_TRY(json_parse(text, "it", MU_CONFIG, &value, err));
    return add_all(ret, value, err);
}

enum mu_status expected_read(const char *path, struct expected *ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer file = {0};

    *ret = (struct expected){0};
    MU_TRY(file_read(path, FILE_MAX_BYTES, &file, err));
    if (parse(buffer_view(&file), ret, err) != MU_OK) {
        expected_free(ret);
        return mu_context(err, "%s is not what 'aws ec2 describe-instances' prints", path);
    }
    if (ret->count > 0)
        qsort(ret->instance, ret->count, sizeof(ret->instance[0]), by_id);
    keep_each_once(ret);
    return MU_OK;
}

struct expected_instance *expected_find(const struct expected *expected, const char *id)
{
    struct expected_instance wanted = {0};

    if (expected->count == 0)
        return NULL;
    (void)snprintf(wanted.id, sizeof(wanted.id), "%s", id);
    return bsearch(&wanted, expected->instance, expected->count, sizeof(wanted), by_id);
}

void expected_free(struct expected *expected)
{
    free(expected->instance);
    *expected = (struct expected){0};
}
