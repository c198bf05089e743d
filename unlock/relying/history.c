/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "fleet/history.h"
#include "relying/relying.h"

#define SHOWN_MAX 1000 /* of the newest entries */
#define ID_SHOWN 12

struct printing {
    bool json;
    size_t count;
};

static enum mu_status print_object(const struct history_entry *entry, const char *separator,
                                   struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();
    bool change = entry->event[0] == '\0';

    if (!watch_add_time(object, "at", entry->at_ms) ||
        !json_add_text(object, "event", change ? "change" : entry->event) ||
        (change && !json_add(object, "ok", json_object_new_boolean(entry->ok))) ||
        !json_add_text(object, "baseline", entry->baseline) ||
        !json_add_text(object, "baseline_version", entry->baseline_version) ||
        !json_add_text(object, "baseline_state", entry->state) ||
        (change && (!json_add_text(object, "image", entry->image) ||
                    !json_add_text(object, "boot_loader", entry->boot_loader))) ||
        !json_add_text(object, "detail", entry->detail) ||
        !json_add_text(object, "address", entry->address))
        return mu_oom(err);
    (void)printf("%s\n%s", separator, json_text(object) ?: "");
    return MU_OK;
}

static enum mu_status print_entry(const struct history_entry *entry, void *context,
                                  struct mu_error *err)
{
    struct printing *printing = context;
    char at[TIME_TEXT], baseline[128];
    bool first = printing->count++ == 0, change = entry->event[0] == '\0';

    if (printing->json)
        return print_object(entry, first ? "[" : ",", err);
    if (first)
        (void)printf("%-24s  %-14s  %-8s  %-20s  %-12s  %-15s  %s\n", "TIME", "WHAT", "STATE",
                     "BASELINE", "IMAGE", "ADDRESS", "DETAIL");
    watch_time(entry->at_ms, at);
    (void)snprintf(baseline, sizeof(baseline), "%s%s%s", entry->baseline,
                   entry->baseline_version[0] != '\0' ? " " : "", entry->baseline_version);
    (void)printf("%-24s  %-14s  %-8s  %-20s  %-12.*s  %-15s  %s\n", at,
                 !change     ? entry->event
                 : entry->ok ? "good document"
                             : "bad document",
                 entry->state, baseline, ID_SHOWN, entry->image, entry->address, entry->detail);
    return MU_OK;
}

enum mu_status history_print(struct store *store, const char *id, bool json, struct mu_error *err)
{
    struct printing printing = {.json = json};

    MU_TRY(store_history(store, id, SHOWN_MAX, print_entry, &printing, err));
    if (json)
        (void)printf("%s]\n", printing.count == 0 ? "[" : "\n");
    return MU_OK;
}
