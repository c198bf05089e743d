/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/activate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <libdevmapper.h>

#include "volume/cryptsetup.h"

#define SECTOR 512u

static void free_task(struct dm_task **task)
{
    if (*task != NULL)
        dm_task_destroy(*task);
}

/* What the kernel has, in its own words: "<cipher> <key> <iv offset> <device> <start> ..."
 * (Documentation/admin-guide/device-mapper/dm-crypt.rst), one target from the first sector on. */
static enum mu_status check_table(const struct luks_header *header, const char *mapping,
                                  struct mu_error *err)
{
    MU_CLEANUP(free_task) struct dm_task *task = dm_task_create(DM_DEVICE_TABLE);
    uint64_t start = 0;
    uint64_t length = 0;
    char *type = NULL;
    char *params = NULL;
    char cipher[32] = "";
    char device[32] = "";
    char expected[32];
    uint64_t iv = 1;
    uint64_t offset = 0;
    struct stat st;

    if (task == NULL || !dm_task_secure_data(task) || !dm_task_set_name(task, mapping) ||
        !dm_task_run(task) || stat(header->device, &st) != 0)
        return mu_fail(err, MU_REFUSE, "%s: cannot be read back", mapping);
    (void)snprintf(expected, sizeof(expected), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
    if (dm_get_next_target(task, NULL, &start, &length, &type, &params) != NULL || type == NULL ||
        params == NULL || strcmp(type, "crypt") != 0 || start != 0 ||
        length != (header->geometry.device_size - header->geometry.data_offset) / SECTOR)
        return mu_fail(err, MU_REFUSE, "%s: the mapping is not one dm-crypt target of the whole %s",
                       mapping, header->device);
    /* NOLINTNEXTLINE(cert-err34-c): the kernel wrote it, and no other value is taken for ours */
    if (sscanf(params, "%31s %*s %" SCNu64 " %31s %" SCNu64, cipher, &iv, device, &offset) != 4 ||
        strcmp(cipher, "aes-xts-plain64") != 0 || iv != 0 || strcmp(device, expected) != 0 ||
        offset != header->geometry.data_offset / SECTOR)
        return mu_fail(err, MU_REFUSE, "%s: the mapping is not aes-xts-plain64 on %s at %" PRIu64,
                       mapping, header->device, header->geometry.data_offset);
    return MU_OK;
}

/* The volume key goes through the kernel's key ring if the kernel can do that (libcryptsetup's own
 * choice): the key then shows in no table, and our thread's ring ends with us. */
enum mu_status volume_activate(const struct luks_header *header, const char *mapping, bool discard,
                               const struct secret *volume_key, struct mu_error *err)
{
    MU_CLEANUP(crypt_session_close) struct crypt_session session = {0};
    uint32_t flags = discard ? CRYPT_ACTIVATE_ALLOW_DISCARDS : 0;
    int r;

    MU_TRY(crypt_session_open_copy(&session, header, header->device, err));
    if (crypt_status(session.cd, mapping) != CRYPT_INACTIVE)
        return mu_fail(err, MU_REFUSE, "/dev/mapper/%s exists already and is not ours", mapping);
    r = crypt_activate_by_volume_key(session.cd, mapping, (const char *)volume_key->data,
                                     volume_key->len, flags);
    if (r < 0)
        return crypt_session_fail(&session, r, MU_REFUSE, mapping, err);
    if (check_table(header, mapping, err) != MU_OK) {
        (void)crypt_deactivate(session.cd, mapping);
        return MU_REFUSE;
    }
    return MU_OK;
}
