/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/authorities.h"

#include <stddef.h>
#include <unistd.h>

#include "base/error.h"

const char *authorities_file(void)
{
    static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt",
                                        "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};

    for (size_t i = 0; i < MU_COUNT(files); i++)
        if (access(files[i], R_OK) == 0)
            return files[i];
    return NULL;
}
