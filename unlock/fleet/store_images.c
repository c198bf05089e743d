/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/store_internal.h"

#include <string.h>

static const char *const act_names[] = {"approve", "revoke"};

const char *store_act_name(enum image_act_kind kind)
{
    return act_names[kind];
}

bool store_act_allows(const struct image_act *act, int64_t now_ms)
{
    return act->act == ACT_APPROVE && (act->until_ms == 0 || now_ms < act->until_ms);
}

const char *store_act_state(const struct image_act *act, int64_t now_ms)
{
    return act->act == ACT_REVOKE          ? "revoked"
           : store_act_allows(act, now_ms) ? "approved"
                                           : "expired";
}

static enum mu_status add_act(struct store *store, void *context, struct mu_error *err)
{
    const struct image_act *act = context;
    struct store_number id, at = store_number(act->at_ms), until = store_number(act->until_ms);
    int64_t number = 0;

    MU_TRY(store_run(store, STATEMENT_ACT_ID, NULL, 0, store_read_number, &number, NULL, err));
    id = store_number(number);
    return store_run(store, STATEMENT_ACT_ADD,
                     (const char *[]){id.text, act->id, act->kind, act->name, act->version,
                                      act->envelope, act_names[act->act], at.text, until.text,
                                      act->author, act->why},
                     11, NULL, NULL, NULL, err);
}

enum mu_status store_image_act(struct store *store, const struct image_act *act,
                               struct mu_error *err)
{
    struct image_act copy = *act;

    return store_transaction(store, add_act, &copy, err);
}

struct act_visitor {
    act_visit visit;
    void *context;
};

/* An act of a name that is not known is none that allows. */
static enum mu_status visit_act(const char *const *column, void *context, struct mu_error *err)
{
    const struct act_visitor *visitor = context;
    const struct image_act act = {
        .id = column[1],
        .kind = column[2],
        .name = column[3],
        .version = column[4],
        .envelope = column[5],
        .act = strcmp(column[6], act_names[ACT_APPROVE]) == 0 ? ACT_APPROVE : ACT_REVOKE,
        .at_ms = store_parse(column[7]),
        .until_ms = store_parse(column[8]),
        .author = column[9],
        .why = column[10],
    };

    return visitor->visit(&act, visitor->context, err);
}

enum mu_status store_images(struct store *store, act_visit visit, void *context,
                            struct mu_error *err)
{
    struct act_visitor visitor = {visit, context};

    return store_run(store, STATEMENT_IMAGES, NULL, 0, visit_act, &visitor, NULL, err);
}

enum mu_status store_image_acts(struct store *store, act_visit visit, void *context,
                                struct mu_error *err)
{
    struct act_visitor visitor = {visit, context};

    return store_run(store, STATEMENT_ACTS, NULL, 0, visit_act, &visitor, NULL, err);
}

enum mu_status store_image_serial(struct store *store, int64_t *ret, struct mu_error *err)
{
    return store_run(store, STATEMENT_ACT_SERIAL, NULL, 0, store_read_number, ret, NULL, err);
}

struct roll_out_visitor {
    roll_out_visit visit;
    void *context;
};

static enum mu_status visit_roll_out(const char *const *column, void *context, struct mu_error *err)
{
    const struct roll_out_visitor *visitor = context;

    return visitor->visit(column[0], column[1], store_parse(column[2]), visitor->context, err);
}

enum mu_status store_roll_out(struct store *store, roll_out_visit visit, void *context,
                              struct mu_error *err)
{
    struct roll_out_visitor visitor = {visit, context};

    return store_run(store, STATEMENT_ROLL_OUT, NULL, 0, visit_roll_out, &visitor, NULL, err);
}
