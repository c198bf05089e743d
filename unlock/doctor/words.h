/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_DOCTOR_WORDS_H
#define MU_DOCTOR_WORDS_H

#include "build/cmdline.h"

/* Words of a kernel command line that lead past measured-unlock: to a shell, to another init, root
 * or unit, to credentials or an environment from outside, to mounts of their own. The command line
 * is measured, so each word is the builder's own choice, or a mistake. The words that must or must
 * not be there because of inputs that are not measured are in dracut-module/doors instead. */

#define BY_KERNEL (1u << CMDLINE_KERNEL)
#define BY_SYSTEMD (1u << CMDLINE_SYSTEMD)
#define BY_DRACUT (1u << CMDLINE_DRACUT)

enum way_when {
    WHEN_THERE,    /* whatever its value is */
    WHEN_ALONE,    /* if it has no value */
    WHEN_ON,       /* unless switched off: NAME=0 */
    WHEN_OFF,      /* if switched off */
    WHEN_VALUE,    /* if the value begins with `value` */
    WHEN_CONTAINS, /* if `value` stands anywhere in the value */
    WHEN_NOT,      /* if it has another value than `value` */
};

struct way {
    const char *name; /* as cmdline_name_is takes it */
    unsigned readers; /* BY_...: those that obey the word; systemd also with "rd." before it */
    enum way_when when;
    const char *value;
    bool open; /* to anybody, in this very boot: a failure, not a warning */
    const char *what;
};

/* The entry that matches a word of that reader; NULL if none does. */
const struct way *doctor_way_of(enum cmdline_reader reader, const struct cmdline_word *word);

#endif
