/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/config.h"
#include "base/file.h"
#include "base/ini.h"
#include "base/trace.h"

/* Takes over `item`; false if it is NULL. */
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
    if (volume->released_by != NULL)
        ok = ok && json_add_text(object, "released_by", volume->released_by);
    if (volume->provisioned)
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
        !json_add(object, "end_us", json_object_new_int64((int64_t)step->end_us)) ||
        !json_add(object, "cpu_us", json_object_new_int64((int64_t)step->cpu_us)) ||
        (step->failed && !json_add(object, "failed", json_object_new_boolean(true))))
        json_free(&object);
    return object;
}

static bool add_volumes(json_object *report, const struct report_volume *volumes, size_t count)
{
    json_object *array = json_object_new_array();

    if (!json_add(report, "volumes", array))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!json_append(array, volume_json(&volumes[i])))
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
        if (!json_append(array, step_json(&steps[i])))
            return false;
    return true;
}

static const char *result_of(const struct mu_error *failure)
{
    if (failure == NULL)
        return "unlocked";
    return failure->status == MU_REFUSE ? "refused" : "failed";
}

enum mu_status report_folder(const char *path, char **ret, struct mu_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = strndup(path, slash == path ? 1 : (size_t)(slash - path));

    if (folder == NULL)
        return mu_oom(err);
    if (mkdir(folder, 0755) != 0 && errno != EEXIST) {
        free(folder);
        return mu_fail(err, MU_CONFIG, "cannot make the folder of %s: %s", path, strerror(errno));
    }
    *ret = folder;
    return MU_OK;
}

/* For units of systemd: their conditions can test files, but not JSON. */
static enum mu_status mark_created(const char *report, const struct report_volume *volume,
                                   struct mu_error *err)
{
    const char *slash = strrchr(report, '/');
    int folder = slash != NULL ? (int)(slash + 1 - report) : 0;
    MU_CLEANUP(string_free) char *path = NULL;
    MU_CLEANUP(string_free) char *parent = NULL;

    MU_TRY(string_print(&path, err, "%.*screated/%s", folder, report, volume->mapping));
    MU_TRY(report_folder(path, &parent, err));
    return file_write(path, (struct bytes){0}, 0644, err);
}

static bool add_open_doors(json_object *report, const char *open)
{
    json_object *array = json_object_new_array();
    struct bytes name;

    if (!json_add(report, "open_doors", array))
        return false;
    while (open != NULL && (name = ini_next_item(&open, CONFIG_OPEN_BETWEEN)).len > 0)
        if (!json_append(array, json_object_new_string_len((const char *)name.data, (int)name.len)))
            return false;
    return true;
}

enum mu_status report_write(const char *path, const struct mu_error *failure, const char *open,
                            const struct report_volume *volumes, size_t count, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *report = json_object_new_object();
    MU_CLEANUP(string_free) char *folder = NULL;
    MU_CLEANUP(string_free) char *line = NULL;
    const char *text;

    if (!json_add_text(report, "result", result_of(failure)))
        return mu_oom(err);
    if (failure != NULL && (!json_add_text(report, "class", mu_status_name(failure->status)) ||
                            !json_add_text(report, "reason", failure->text)))
        return mu_oom(err);
    if (!add_open_doors(report, open) || !add_volumes(report, volumes, count) || !add_steps(report))
        return mu_oom(err);
    text = json_object_to_json_string_ext(report,
                                          JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (text == NULL)
        return mu_oom(err);
    MU_TRY(string_print(&line, err, "%s\n", text));
    MU_TRY(report_folder(path, &folder, err));
    MU_TRY(file_write(path, text_view(line), 0644, err));
    for (size_t i = 0; failure == NULL && i < count; i++)
        if (volumes[i].provisioned)
            MU_TRY(mark_created(path, &volumes[i], err));
    return MU_OK;
}
