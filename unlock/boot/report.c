/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/trace.h"

/* Takes over `item`; false if it is NULL. */
static bool append(json_object *array, json_object *item)
{
    if (item != NULL && json_object_array_add(array, item) == 0)
        return true;
    json_free(&item);
    return false;
}

static json_object *volume_json(const struct report_volume *volume)
{
    json_object *object = json_object_new_object();
    bool ok = json_add_text(object, "name", volume->name);

    if (volume->header->device != NULL)
        ok = ok && json_add_text(object, "device", volume->header->device) &&
             json_add_text(object, "uuid", volume->header->uuid);
    ok = ok && json_add_text(object, "mapping", volume->mapping);
    if (volume->record->version > 0)
        ok = ok && json_add(object, "keyslot", json_object_new_int(volume->record->keyslot)) &&
             json_add_text(object, "provider", volume->record->provider) &&
             json_add(object, "record_version", json_object_new_int64(volume->record->version));
    if (volume->created)
        ok = ok && json_add(object, "created", json_object_new_boolean(true));
    if (!ok)
        json_free(&object);
    return object;
}

static json_object *step_json(const struct trace_step *step)
{
    json_object *object = json_object_new_object();

    if (!json_add_text(object, "name", step->name) ||
        !json_add(object, "start_us", json_object_new_int64((int64_t)step->start_us)) ||
        !json_add(object, "end_us", json_object_new_int64((int64_t)step->end_us)))
        json_free(&object);
    return object;
}

static bool add_volumes(json_object *report, const struct report_volume *volumes, size_t count)
{
    json_object *array = json_object_new_array();

    if (!json_add(report, "volumes", array))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!append(array, volume_json(&volumes[i])))
            return false;
    return true;
}

static bool add_steps(json_object *report)
{
    struct trace_step steps[TRACE_STEPS_MAX];
    size_t count = trace_steps(steps);
    json_object *array = json_object_new_array();

    if (!json_add(report, "steps", array))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!append(array, step_json(&steps[i])))
            return false;
    return true;
}

static const char *result_of(const struct mu_error *failure)
{
    if (failure == NULL)
        return "unlocked";
    return failure->status == MU_REFUSE ? "refused" : "failed";
}

static enum mu_status make_parent(const char *path, struct mu_error *err)
{
    const char *slash = strrchr(path, '/');
    char *parent;
    int rc;

    if (slash == NULL || slash == path)
        return MU_OK;
    parent = strndup(path, (size_t)(slash - path));
    if (parent == NULL)
        return mu_oom(err);
    rc = mkdir(parent, 0755);
    free(parent);
    if (rc != 0 && errno != EEXIST)
        return mu_fail(err, MU_CONFIG, "cannot make the folder of %s: %s", path, strerror(errno));
    return MU_OK;
}

enum mu_status report_write(const char *path, const struct mu_error *failure,
                            const struct report_volume *volumes, size_t count, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *report = json_object_new_object();
    const char *text;

    if (!json_add_text(report, "result", result_of(failure)))
        return mu_oom(err);
    if (failure != NULL && (!json_add_text(report, "class", mu_status_name(failure->status)) ||
                            !json_add_text(report, "reason", failure->text)))
        return mu_oom(err);
    if (!add_volumes(report, volumes, count) || !add_steps(report))
        return mu_oom(err);
    text = json_object_to_json_string_ext(report,
                                          JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (text == NULL)
        return mu_oom(err);
    MU_TRY(make_parent(path, err));
    return file_write(path, (struct bytes){(const uint8_t *)text, strlen(text)}, 0644, err);
}
