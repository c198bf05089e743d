/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_AUTHORITIES_H
#define MU_APPRAISE_AUTHORITIES_H

/* Where this distribution keeps the public certificate authorities, in PEM; NULL: nowhere. */
const char *authorities_file(void);

#endif
