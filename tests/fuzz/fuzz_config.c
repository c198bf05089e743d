/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration file. */
#include "base/config.h"

#include <string.h>

#include "base/doors.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config = {0};
    struct mu_error err = {0};
    char path[FUZZ_PATH_SIZE];
    enum mu_status status;

    fuzz_file((struct bytes){data, size}, size, path);
    status = config_load(path, &config, &err);
    fuzz_outcome(status, &err, 1u << MU_CONFIG);
    if (status != MU_OK)
        return 0;
    fuzz_require(config.fence_pcr >= 8 && config.fence_pcr <= 15, "the fence is a fence PCR");
    fuzz_require(config.minimum_record_version >= 1, "there is a least version");
    fuzz_require(config.volumes >= 1 && config.volumes <= CONFIG_VOLUMES_MAX, "there is a volume");
    for (size_t i = 0; i < config.volumes; i++)
        fuzz_require(config.volume[i].device && config.volume[i].mapping &&
                         config.volume[i].provider,
                     "a volume is whole");
    fuzz_require(!config_opens(&config, DOOR_NEVER), "what may never be opened stays shut");
    fuzz_require(!config_opens(&config, "swap") || strstr(config.open, "swap") != NULL,
                 "a door is open if it is named");
    config_free(&config);
    return 0;
}
