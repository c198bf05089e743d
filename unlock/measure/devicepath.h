/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_MEASURE_DEVICEPATH_H
#define MU_MEASURE_DEVICEPATH_H

#include "base/text.h"

/* UEFI 2.10, 10.6: the text of a device path; node types that are not known, and what is malformed,
 * as Path(type,subtype,hex). */
void devicepath_describe(struct text *text, struct bytes path);

#endif
