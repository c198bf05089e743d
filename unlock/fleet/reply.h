/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_FLEET_REPLY_H
#define MU_FLEET_REPLY_H

#include <microhttpd.h>

/* An HTTP answer that nobody on its way keeps. allow: the method that is answered, or NULL. text
 * NULL: out of memory; the connection ends. */
enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, const char *content_type,
                      const char *allow, const char *text);

#endif
