/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/signals.h"
#include "fleet/watch.h"
#include "relying/relying.h"

struct watch_source fleet_source(const char *config, const char *store)
{
    if (config == NULL && (store == NULL || access(WATCH_DEFAULT_PATH, F_OK) == 0))
        config = WATCH_DEFAULT_PATH;
    return (struct watch_source){config, store};
}

static enum mu_status run_watch(int argc, char **argv, struct mu_error *err)
{
    const char *config = NULL, *store = NULL;
    struct watch_source source;
    bool once = false;
    const struct cli_option options[] = {
        {"config", 'c', .text = &config},
        {"store", 's', .text = &store},
        {"once", '1', .flag = &once},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    source = fleet_source(config, store);
    MU_TRY(signals_install(err));
    return once ? watch_once(&source, signals_stop(), err)
                : watch_run(&source, signals_stop(), err);
}

const struct verb verb_watch = {
    .name = "watch",
    .synopsis = "[--config FILE] [--store STORE] [--once]",
    .summary = "raise the alarm for instances that are altered or silent",
    .help = FLEET_OPTIONS
    "      --once          look and deliver once, and end: for cron\n"
    "\n"
    "Reads what 'mu-verifier serve' keeps of each instance, and sends an event to a command and\n"
    "a webhook when one is altered, silent for longer than allowed, in the state boot for longer\n"
    "than a boot takes, or good again. HUP reads the configuration again.\n"
    "\n"
    "Exit code of --once: 3 if an event could not be delivered; it is tried again next time.\n"
    "\n"
    "Example: mu-verifier watch --config /etc/measured-unlock/watch.conf\n",
    .run = run_watch,
};
