/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/trace.h"

static json_object *volume_json(const struct report_volume *volume)
{
    json_object *object = json_object_new_object();

    json_object_object_add(object, "name", json_object_new_string(volume->name));
    if (volume->header->device != NULL) {
        json_object_object_add(object, "device", json_object_new_string(volume->header->device));
        json_object_object_add(object, "uuid", json_object_new_string(volume->header->uuid));
    }
    json_object_object_add(object, "mapping", json_object_new_string(volume->mapping));
    if (volume->record->version > 0) {
        json_object_object_add(object, "keyslot", json_object_new_int(volume->record->keyslot));
        json_object_object_add(object, "provider",
                               json_object_new_string(volume->record->provider));
        json_object_object_add(object, "record_version",
                               json_object_new_int64(volume->record->version));
    }
    return object;
}

static json_object *steps_json(void)
{
    struct trace_step steps[TRACE_STEPS_MAX];
    size_t count = trace_steps(steps);
    json_object *array = json_object_new_array();

    for (size_t i = 0; i < count; i++) {
        json_object *step = json_object_new_object();

        json_object_object_add(step, "name", json_object_new_string(steps[i].name));
        json_object_object_add(step, "start_us", json_object_new_int64((int64_t)steps[i].start_us));
        json_object_object_add(step, "end_us", json_object_new_int64((int64_t)steps[i].end_us));
        json_object_array_add(array, step);
    }
    return array;
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
    json_object *array = json_object_new_array();
    const char *text;

    json_object_object_add(report, "result",
                           json_object_new_string(failure == NULL                ? "unlocked"
                                                  : failure->status == MU_REFUSE ? "refused"
                                                                                 : "failed"));
    if (failure != NULL) {
        json_object_object_add(report, "class",
                               json_object_new_string(mu_status_name(failure->status)));
        json_object_object_add(report, "reason", json_object_new_string(failure->text));
    }
    for (size_t i = 0; i < count; i++)
        json_object_array_add(array, volume_json(&volumes[i]));
    json_object_object_add(report, "volumes", array);
    json_object_object_add(report, "steps", steps_json());
    text = json_object_to_json_string_ext(report,
                                          JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (text == NULL)
        return mu_oom(err);
    MU_TRY(make_parent(path, err));
    return file_write(path, (struct bytes){(const uint8_t *)text, strlen(text)}, 0644, err);
}
