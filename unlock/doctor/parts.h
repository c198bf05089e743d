/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_DOCTOR_PARTS_H
#define MU_DOCTOR_PARTS_H

#include <stddef.h>

/* dracut-module/parts as it was when this program was built: what the dracut module puts into an
 * image. That file says what the words mean; unlock/doctor/parts.awk makes the table from it. */

enum part_when { PART_ALWAYS, PART_SYSTEMD, PART_PLAIN, PART_NETWORKD };
enum part_kind { PART_COPY, PART_LINK, PART_MADE };

struct part {
    enum part_when when;
    enum part_kind kind;
    const char *source; /* a name in the module's folder; of PART_LINK, where it leads */
    const char *path;   /* "hooks/...": below either folder of dracut's hooks */
    const char *finding;
};

extern const struct part parts[];
extern const size_t parts_count;

#endif
