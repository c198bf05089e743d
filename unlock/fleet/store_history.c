/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/history.h"

#include "fleet/store_internal.h"

struct history_visitor {
    history_visit visit;
    void *context;
};

static enum mu_status visit_entry(const char *const *column, void *context, struct mu_error *err)
{
    const struct history_visitor *visitor = context;
    const struct history_entry entry = {
        .at_ms = store_parse(column[0]),
        .event = column[1],
        .ok = store_parse(column[2]) != 0,
        .baseline = column[3],
        .baseline_version = column[4],
        .state = column[5],
        .image = column[6],
        .boot_loader = column[7],
        .detail = column[8],
        .address = column[9],
    };

    return visitor->visit(&entry, visitor->context, err);
}

enum mu_status store_history(struct store *store, const char *id, unsigned most,
                             history_visit visit, void *context, struct mu_error *err)
{
    struct history_visitor visitor = {visit, context};
    struct store_number limit = store_number(most);

    return store_run(store, STATEMENT_HISTORY, (const char *[]){id, limit.text}, 2, visit_entry,
                     &visitor, NULL, err);
}

enum mu_status store_sample(struct store *store, const struct sample *sample, struct mu_error *err)
{
    const int64_t value[] = {sample->looked_ms - sample->looked_ms % SAMPLE_MS,
                             sample->looked_ms,
                             sample->ok,
                             sample->mismatch,
                             sample->boot_overdue,
                             sample->missing,
                             sample->first_seen};
    struct store_number number[MU_COUNT(value)];
    const char *text[MU_COUNT(value)];

    for (size_t i = 0; i < MU_COUNT(value); i++) {
        number[i] = store_number(value[i]);
        text[i] = number[i].text;
    }
    return store_run(store, STATEMENT_SAMPLE, text, MU_COUNT(text), NULL, NULL, NULL, err);
}

struct sample_visitor {
    sample_visit visit;
    void *context;
};

static enum mu_status visit_sample(const char *const *column, void *context, struct mu_error *err)
{
    const struct sample_visitor *visitor = context;
    const struct sample sample = {
        .at_ms = store_parse(column[0]),
        .looked_ms = store_parse(column[1]),
        .ok = store_parse(column[2]),
        .mismatch = store_parse(column[3]),
        .boot_overdue = store_parse(column[4]),
        .missing = store_parse(column[5]),
        .first_seen = store_parse(column[6]),
    };

    return visitor->visit(&sample, visitor->context, err);
}

enum mu_status store_samples(struct store *store, int64_t from_ms, int64_t step_ms,
                             sample_visit visit, void *context, struct mu_error *err)
{
    struct sample_visitor visitor = {visit, context};
    struct store_number step = store_number(step_ms), from = store_number(from_ms);

    return store_run(store, STATEMENT_SAMPLES, (const char *[]){step.text, from.text}, 2,
                     visit_sample, &visitor, NULL, err);
}

enum mu_status store_history_expire(struct store *store, int64_t before_ms, struct mu_error *err)
{
    struct store_number before = store_number(before_ms);
    const char *const value = before.text;

    MU_TRY(store_run(store, STATEMENT_EXPIRE_HISTORY, &value, 1, NULL, NULL, NULL, err));
    return store_run(store, STATEMENT_EXPIRE_SAMPLES, &value, 1, NULL, NULL, NULL, err);
}
