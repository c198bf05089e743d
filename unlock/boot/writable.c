/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/file.h"
#include "base/landlock.h"
#include "base/log.h"
#include "boot/report.h"
#include "boot/state.h"

static const struct writable devices = {"/dev", WRITABLE_DEVICES};
static const struct writable mappings = {"/dev/mapper", WRITABLE_NODES};

/* A path below /proc would name what is open already, or the memory of a process. */
static bool is_kernels(const char *folder)
{
    return path_is_in(folder, "/proc") || path_is_in(folder, "/dev");
}

enum mu_status writable_restrict(const struct config *config, struct mu_error *err)
{
    struct writable writable[3 + CONFIG_VOLUMES_MAX] = {devices, mappings};
    MU_CLEANUP(string_free) char *folder = NULL;
    enum mu_status status = report_folder(config->report, &folder, err);
    size_t count = 2;
    int abi = 0;

    if (status == MU_INTERNAL)
        return status;
    if (status == MU_OK && !is_kernels(folder)) /* else there will be no report, and that is said */
        writable[count++] = (struct writable){folder, WRITABLE_FILES};
    /* A volume may be a file, in a laboratory. */
    for (size_t i = 0; i < config->volumes; i++)
        if (config->volume[i].device[0] == '/')
            writable[count++] = (struct writable){config->volume[i].device, WRITABLE_DEVICES};
    MU_TRY(landlock_confine(writable, count, &abi, err));
    if (abi > 0)
        log_line("sandbox: Landlock, version %d: only devices and %s can be written", abi,
                 folder != NULL ? folder : "nothing else");
    else
        log_line("sandbox: this kernel has no Landlock: a hole in this program could write files");
    return MU_OK;
}
