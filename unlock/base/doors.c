/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/doors.h"

#include <string.h>

bool door_is_first_of_its_name(size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(doors[i].name, doors[index].name) == 0)
            return false;
    return true;
}

bool door_may_open(const char *name)
{
    for (size_t i = 0; i < doors_count; i++)
        if (strcmp(doors[i].name, name) == 0)
            return strcmp(name, DOOR_NEVER) != 0;
    return false;
}
