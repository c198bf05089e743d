/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_DOORS_H
#define MU_BASE_DOORS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* dracut-module/doors as it was when this program was built: inputs that must not steer a boot.
 * That file says what the kinds mean; unlock/base/doors.awk makes the table from it. */

enum door_kind { DOOR_WORD, DOOR_FORBIDDEN, DOOR_GENERATOR, DOOR_UNIT, DOOR_MODULE };

#define DOOR_NEVER "-" /* the name of a door that nobody may open */

struct door {
    enum door_kind kind;
    const char *value; /* the word, or the name of the unit, generator or module */
    const char *name;  /* the word in `open =` of [boot] that leaves the door open; or DOOR_NEVER */
    const char *since; /* "systemd-261": the first version that the door concerns */
    const char *reason; /* one sentence without a full stop */
};

extern const struct door doors[];
extern const size_t doors_count;

/* False if a door before this one in the table has the same name. */
bool door_is_first_of_its_name(size_t index);
/* True if a builder may open a door of this name. */
bool door_may_open(const char *name) MU_NONNULL;

#endif
