/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet/store.h"

/* store_driver STORE: records lines of standard input as a verifier would. Between tabs: instance,
 * milliseconds since 1970, 0 or 1, baseline, version, state, detail, address, image, boot
 * loader. */

static char *next(char **at)
{
    char *field = strsep(at, "\t");

    return field != NULL ? field : "";
}

int main(int argc, char **argv)
{
    struct store *store = NULL;
    struct mu_error err = {0};
    char line[4096];

    if (argc != 2 || store_open(argv[1], STORE_MAKE, &store, &err) != MU_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    while (fgets(line, sizeof(line), stdin) != NULL) {
        struct attestation a = {0};
        char *at = line;

        line[strcspn(line, "\n")] = '\0';
        a.instance_id = next(&at);
        a.at_ms = strtoull(next(&at), NULL, 10);
        a.ok = strcmp(next(&at), "1") == 0;
        a.baseline = next(&at);
        a.baseline_version = next(&at);
        a.state = next(&at);
        a.detail = next(&at);
        a.address = next(&at);
        a.image = next(&at);
        a.boot_loader = next(&at);
        if (store_record(store, &a, &err) != MU_OK) {
            (void)fprintf(stderr, "%s\n", err.text);
            return 1;
        }
    }
    store_close(&store);
    return 0;
}
