/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/reply.h"

#include <string.h>

enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, const char *content_type,
                      const char *allow, const char *text)
{
    struct MHD_Response *response = NULL;
    enum MHD_Result result = MHD_NO;

    if (text != NULL)
        response =
            MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return MHD_NO;
    if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type) == MHD_YES &&
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") == MHD_YES &&
        (allow == NULL ||
         MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow) == MHD_YES))
        result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}
