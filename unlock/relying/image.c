/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appraise/manifest.h"
#include "base/file.h"
#include "base/text.h"
#include "base/time.h"
#include "relying/relying.h"
#include "verifier/settings.h"

#define WHY_MAX 256
#define AUTHOR_MAX 64
#define ID_SHOWN 12

/* ---- where the images are, and who asks ---- */

struct place {
    const char *config, *store, *builder_key;
    struct settings settings;
};

static void place_free(struct place *place)
{
    settings_free(&place->settings);
}

/* Either the verifier's configuration, or all of it on the command line. */
static enum mu_status find_place(struct place *place, bool needs_key, struct mu_error *err)
{
    if (place->store == NULL || (needs_key && place->builder_key == NULL) ||
        place->config != NULL) {
        MU_TRY(settings_load(place->config != NULL ? place->config : SETTINGS_DEFAULT_PATH,
                             &place->settings, err));
        place->store = place->store != NULL ? place->store : place->settings.store;
        place->builder_key =
            place->builder_key != NULL ? place->builder_key : place->settings.builder_key;
    }
    if (place->store == NULL)
        return mu_fail(err, MU_CONFIG, "no store is configured: images are approved in a store");
    if (needs_key && place->builder_key == NULL)
        return mu_fail(err, MU_CONFIG,
                       "no builder_key is configured: whose signature should a manifest have?");
    return MU_OK;
}

struct statement {
    const char *by, *why, *until;
    int64_t until_ms;
};

static enum mu_status check_words(const char *option, const char *text, size_t max,
                                  struct mu_error *err)
{
    if (text == NULL || text[0] == '\0')
        return mu_fail(err, MU_USAGE, "%s is needed", option);
    if (strlen(text) > max || !text_is_printable(text_view(text)))
        return mu_fail(err, MU_USAGE, "%s is at most %zu printable characters", option, max);
    return MU_OK;
}

static enum mu_status check_statement(struct statement *statement, struct mu_error *err)
{
    static const char *const names[] = {"SUDO_USER", "LOGNAME", "USER"};
    uint64_t until_ms = 0;

    for (size_t i = 0; statement->by == NULL && i < MU_COUNT(names); i++)
        statement->by = getenv(names[i]);
    if (statement->by == NULL)
        return mu_fail(err, MU_USAGE,
                       "--by is needed: no $SUDO_USER, $LOGNAME or $USER tells who does it");
    MU_TRY(check_words("--by", statement->by, AUTHOR_MAX, err));
    MU_TRY(check_words("--why", statement->why, WHY_MAX, err));
    if (statement->until == NULL)
        return MU_OK;
    if (!time_parse(statement->until, &until_ms))
        return mu_fail(err, MU_USAGE, "--until '%.64s': a time such as 2027-06-30T00:00:00Z",
                       statement->until);
    if (until_ms <= time_now_ms())
        return mu_fail(err, MU_USAGE, "--until '%.64s' has passed", statement->until);
    statement->until_ms = (int64_t)until_ms;
    return MU_OK;
}

/* ---- what the store has ---- */

/* Copies of those that are wanted: all, or those that `name` names. */
struct image {
    struct image_act act;
    char *text[7];
    int64_t instances;
};

struct images {
    const char *name; /* id, NAME or NAME:VERSION; NULL: all */
    struct image *image;
    size_t count;
};

static void images_free(struct images *images)
{
    for (size_t i = 0; i < images->count; i++)
        for (size_t k = 0; k < MU_COUNT(images->image[i].text); k++)
            free(images->image[i].text[k]);
    free(images->image);
    *images = (struct images){0};
}

static bool is_named(const struct image_act *act, const char *name)
{
    size_t len = strlen(act->name);

    if (name == NULL)
        return true;
    if (strlen(name) >= ID_DIGITS_MIN && strncmp(act->id, name, strlen(name)) == 0)
        return true;
    return strncmp(act->name, name, len) == 0 &&
           (name[len] == '\0' || (name[len] == ':' && strcmp(act->version, name + len + 1) == 0));
}

static enum mu_status keep(const struct image_act *act, void *context, struct mu_error *err)
{
    struct images *images = context;
    struct image *image, *more;

    if (!is_named(act, images->name))
        return MU_OK;
    more = realloc(images->image, (images->count + 1) * sizeof(*more));
    if (more == NULL)
        return mu_oom(err);
    images->image = more;
    image = &images->image[images->count];
    *image = (struct image){.act = *act};
    {
        const char **const field[] = {&image->act.id,      &image->act.kind,     &image->act.name,
                                      &image->act.version, &image->act.envelope, &image->act.author,
                                      &image->act.why};
        bool copied = true;

        for (size_t i = 0; i < MU_COUNT(field); i++) {
            image->text[i] = strdup(*field[i]);
            *field[i] = image->text[i];
            copied = copied && *field[i] != NULL;
        }
        images->count++;
        return copied ? MU_OK : mu_oom(err);
    }
}

static enum mu_status count_instances(const char *image, const char *boot_loader, int64_t instances,
                                      void *context, struct mu_error *err)
{
    struct images *images = context;

    (void)err;
    for (size_t i = 0; i < images->count; i++)
        if (strcmp(images->image[i].act.id, image) == 0 ||
            strcmp(images->image[i].act.id, boot_loader) == 0)
            images->image[i].instances += instances;
    return MU_OK;
}

static enum mu_status read_images(struct store *store, const char *name, struct images *ret,
                                  struct mu_error *err)
{
    ret->name = name;
    MU_TRY(store_images(store, keep, ret, err));
    if (name != NULL && ret->count == 0)
        return mu_fail(err, MU_CONFIG,
                       "%.80s is no image of this store: neither NAME:VERSION nor the first %d "
                       "digits of an id; 'mu-verifier image list' shows them",
                       name, ID_DIGITS_MIN);
    return store_roll_out(store, count_instances, ret, err);
}

/* ---- approve ---- */

/* One name and version is one set of files: what is said of it may be said anew. */
static enum mu_status check_others(struct store *store, const struct manifest *manifest,
                                   const struct public_keys *keys, struct mu_error *err)
{
    MU_CLEANUP(images_free) struct images others = {0};

    MU_TRY(store_images(store, keep, &others, err));
    for (size_t i = 0; i < others.count; i++) {
        const struct image_act *act = &others.image[i].act;
        MU_CLEANUP(manifest_free) struct manifest other = {0};
        json_object *a = NULL, *b = NULL;
        struct mu_error ignored = {0};

        if (strcmp(act->name, manifest->name) != 0 ||
            strcmp(act->version, manifest->version) != 0 ||
            manifest_open(text_view(act->envelope), "the store's", keys, &other, &ignored) != MU_OK)
            continue;
        MU_TRY(json_member(other.statement, "subject", json_type_array, MU_INTERNAL, &a, err));
        MU_TRY(json_member(manifest->statement, "subject", json_type_array, MU_INTERNAL, &b, err));
        if (json_object_equal(a, b) == 0)
            return mu_fail(err, MU_REFUSE,
                           "%s %s is in the store already, with other files (%.*s): an image that "
                           "was built again needs another version",
                           act->name, act->version, ID_SHOWN, act->id);
    }
    return MU_OK;
}

static enum mu_status approve(const struct place *place, const char *path,
                              const struct statement *statement, struct mu_error *err)
{
    MU_CLEANUP(public_keys_free) struct public_keys keys = {0};
    MU_CLEANUP(buffer_free) struct buffer envelope = {0};
    MU_CLEANUP(manifest_free) struct manifest manifest = {0};
    MU_CLEANUP(store_close) struct store *store = NULL;
    struct image_act act = {.act = ACT_APPROVE,
                            .at_ms = (int64_t)time_now_ms(),
                            .until_ms = statement->until_ms,
                            .author = statement->by,
                            .why = statement->why};

    MU_TRY(signature_load_keys(place->builder_key, &keys, err));
    MU_TRY(file_read(path, DSSE_MAX_BYTES, &envelope, err));
    MU_TRY(manifest_open(buffer_view(&envelope), path, &keys, &manifest, err));
    MU_TRY(store_open(place->store, STORE_WRITE, &store, err));
    MU_TRY(check_others(store, &manifest, &keys, err));
    act.id = manifest.id;
    act.kind = manifest_kind_name(manifest.kind);
    act.name = manifest.name;
    act.version = manifest.version;
    act.envelope = (const char *)envelope.data; /* JSON: no zero byte but the last */
    MU_TRY(store_image_act(store, &act, err));
    (void)printf("approved %s %s (%.*s) %s%s\n", act.name, act.version, ID_SHOWN, act.id,
                 statement->until != NULL ? "until " : "for good",
                 statement->until != NULL ? statement->until : "");
    return MU_OK;
}

#define PLACE_OPTIONS(place)                                                                       \
    {"config", 'c', .text = &(place)->config},                                                     \
    {                                                                                              \
        "store", 's', .text = &(place)->store                                                      \
    }

static enum mu_status run_approve(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(place_free) struct place place = {0};
    struct statement statement = {0};
    const struct cli_option options[] = {
        PLACE_OPTIONS(&place),
        {"builder-key", 'k', .text = &place.builder_key},
        {"until", 'u', .text = &statement.until},
        {"why", 'w', .text = &statement.why},
        {"by", 'b', .text = &statement.by},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 1, 1, err));
    MU_TRY(check_statement(&statement, err));
    MU_TRY(find_place(&place, true, err));
    return approve(&place, argv[optind], &statement, err);
}

/* ---- revoke ---- */

static enum mu_status run_revoke(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(place_free) struct place place = {0};
    MU_CLEANUP(store_close) struct store *store = NULL;
    MU_CLEANUP(images_free) struct images images = {0};
    struct statement statement = {0};
    const struct cli_option options[] = {
        PLACE_OPTIONS(&place),
        {"why", 'w', .text = &statement.why},
        {"by", 'b', .text = &statement.by},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 1, 1, err));
    MU_TRY(check_statement(&statement, err));
    MU_TRY(find_place(&place, false, err));
    MU_TRY(store_open(place.store, STORE_WRITE, &store, err));
    MU_TRY(read_images(store, argv[optind], &images, err));
    for (size_t i = 0; i < images.count; i++) {
        const struct image *image = &images.image[i];
        struct image_act act = image->act;

        if (act.act == ACT_REVOKE) {
            (void)printf("%s %s (%.*s) is revoked already\n", act.name, act.version, ID_SHOWN,
                         act.id);
            continue;
        }
        act.act = ACT_REVOKE;
        act.at_ms = (int64_t)time_now_ms();
        act.until_ms = 0;
        act.author = statement.by;
        act.why = statement.why;
        MU_TRY(store_image_act(store, &act, err));
        (void)printf("revoked %s %s (%.*s), which ran on %" PRId64 " instances\n", act.name,
                     act.version, ID_SHOWN, act.id, image->instances);
    }
    return MU_OK;
}

/* ---- list, show ---- */

static bool add_act(json_object *object, const struct image_act *act)
{
    return json_add_text(object, "act", store_act_name(act->act)) &&
           watch_add_time(object, "at", act->at_ms) &&
           watch_add_time(object, "until", act->until_ms) &&
           json_add_text(object, "by", act->author) && json_add_text(object, "why", act->why);
}

static bool add_image(json_object *object, const struct image *image, int64_t now_ms)
{
    const struct image_act *act = &image->act;

    return json_add_text(object, "id", act->id) && json_add_text(object, "kind", act->kind) &&
           json_add_text(object, "name", act->name) &&
           json_add_text(object, "version", act->version) &&
           json_add_text(object, "state", store_act_state(act, now_ms)) && add_act(object, act) &&
           json_add(object, "instances", json_object_new_int64(image->instances));
}

static void print_act(const struct image_act *act)
{
    char at[TIME_TEXT], until[TIME_TEXT];

    watch_time(act->at_ms, at);
    watch_time(act->until_ms, until);
    (void)printf("%s  %-8s %s %s (%.*s) by %s%s%s: %s\n", at, store_act_name(act->act), act->name,
                 act->version, ID_SHOWN, act->id, act->author, until[0] != '\0' ? ", until " : "",
                 until, act->why);
}

static void print_image(const struct image *image, int64_t now_ms)
{
    const struct image_act *act = &image->act;
    char until[TIME_TEXT];

    watch_time(act->until_ms, until);
    (void)printf("%-20s %-16s %-12s %-9s %9" PRId64 "  %-24s %.*s %s\n", act->name, act->version,
                 act->kind, store_act_state(act, now_ms), image->instances,
                 until[0] != '\0' ? until : "-", ID_SHOWN, act->id, act->author);
}

static enum mu_status print_list(const struct images *images, bool acts, bool json,
                                 struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *list = json ? json_object_new_array() : NULL;
    int64_t now_ms = (int64_t)time_now_ms();

    if (!json && !acts && images->count > 0)
        (void)printf("%-20s %-16s %-12s %-9s %9s  %-24s %-*s %s\n", "NAME", "VERSION", "KIND",
                     "STATE", "INSTANCES", "UNTIL", ID_SHOWN, "ID", "BY");
    for (size_t i = 0; i < images->count; i++) {
        const struct image *image = &images->image[i];
        json_object *object;

        if (json) {
            object = json_object_new_object();
            if (!json_append(list, object) || !add_image(object, image, now_ms))
                return mu_oom(err);
            if (acts)
                json_object_object_del(object, "instances");
        } else if (acts) {
            print_act(&image->act);
        } else {
            print_image(image, now_ms);
        }
    }
    return json ? cli_print_json("-", list, err) : MU_OK;
}

static enum mu_status run_image_list(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(place_free) struct place place = {0};
    MU_CLEANUP(store_close) struct store *store = NULL;
    MU_CLEANUP(images_free) struct images images = {0};
    bool json = false, log = false;
    const struct cli_option options[] = {
        PLACE_OPTIONS(&place),
        {"log", 'l', .flag = &log},
        {"json", 'j', .flag = &json},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 0, 1, err));
    MU_TRY(find_place(&place, false, err));
    MU_TRY(store_open(place.store, STORE_READ, &store, err));
    if (log) {
        images.name = argv[optind];
        MU_TRY(store_image_acts(store, keep, &images, err));
    } else {
        MU_TRY(read_images(store, argv[optind], &images, err));
    }
    return print_list(&images, log, json, err);
}

/* The statement as it was signed, which its envelope has as base64. */
static enum mu_status print_statement(const char *envelope, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *statement = NULL;
    MU_CLEANUP(buffer_free) struct buffer payload = {0};

    MU_TRY(dsse_payload(text_view(envelope), &payload, err));
    MU_TRY(json_parse(buffer_view(&payload), "the statement", MU_CONFIG, &statement, err));
    return cli_print_json("-", statement, err);
}

static enum mu_status run_image_show(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(place_free) struct place place = {0};
    MU_CLEANUP(store_close) struct store *store = NULL;
    MU_CLEANUP(images_free) struct images images = {0};
    const char *output = NULL, *envelope;
    const struct cli_option options[] = {
        PLACE_OPTIONS(&place),
        {"output", 'o', .text = &output},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 1, 1, err));
    MU_TRY(find_place(&place, false, err));
    MU_TRY(store_open(place.store, STORE_READ, &store, err));
    MU_TRY(read_images(store, argv[optind], &images, err));
    if (images.count > 1)
        return mu_fail(err, MU_USAGE, "%.80s names %zu images: give the id of one", argv[optind],
                       images.count);
    envelope = images.image[0].act.envelope;
    return output != NULL ? file_write(output, text_view(envelope), 0644, err)
                          : print_statement(envelope, err);
}

#define PLACE_HELP                                                                                 \
    "      --config FILE   default " SETTINGS_DEFAULT_PATH "\n"                                    \
    "      --store STORE   instead of the configuration's: sqlite:PATH or postgresql:CONNINFO\n"
#define STATEMENT_HELP                                                                             \
    "      --why TEXT      the reason, which the log keeps\n"                                      \
    "      --by NAME       who does it; default: $SUDO_USER, else $LOGNAME, else $USER\n"

const struct verb verb_image_approve = {
    .name = "image approve",
    .synopsis = "MANIFEST --why TEXT [--until TIME] [OPTION...]",
    .summary = "allow an image, or a boot loader, to run",
    .help = PLACE_HELP
    "      --builder-key FILE\n"
    "                      the same: whose signature the manifest must have\n"
    "      --until TIME    RFC 3339; it may run until then; default: for good\n" STATEMENT_HELP "\n"
    "MANIFEST is what 'muctl image manifest' wrote; - is standard input. Verifiers whose\n"
    "configuration has builder_key accept the image from the next attestation on. Doing it\n"
    "again changes --until. What is approved stays in the store, with each act.\n"
    "\n"
    "Exit code 2: the builder did not sign it, or that version is another image. 4: it is no\n"
    "manifest.\n"
    "\n"
    "Example: sudo -u measured-unlock mu-verifier image approve web-7.json \\\n"
    "             --until 2027-06-30T00:00:00Z --why 'change 4711'\n",
    .run = run_approve,
};

const struct verb verb_image_revoke = {
    .name = "image revoke",
    .synopsis = "IMAGE --why TEXT [OPTION...]",
    .summary = "do not allow it any more",
    .help = PLACE_HELP STATEMENT_HELP
    "\n"
    "IMAGE is NAME:VERSION, NAME for all its versions, or the id or its first 8 digits. Each\n"
    "instance that runs it is refused at its next attestation.\n"
    "\n"
    "Exit code 4: the store has no such image.\n"
    "\n"
    "Example: mu-verifier image revoke web:7 --why CVE-2026-4711\n",
    .run = run_revoke,
};

const struct verb verb_image_list = {
    .name = "image list",
    .synopsis = "[--log] [--json] [OPTION...] [IMAGE]",
    .summary = "what may run, until when, and on how many instances it does",
    .help = PLACE_HELP
    "      --log           each act instead, the oldest first: who, when, why\n"
    "      --json          an array of objects\n"
    "\n"
    "INSTANCES are those whose last document was of that image and accepted. IMAGE as for\n"
    "'image revoke'.\n"
    "\n"
    "Example: mu-verifier image list --json\n",
    .run = run_image_list,
};

const struct verb verb_image_show = {
    .name = "image show",
    .synopsis = "[-o FILE] [OPTION...] IMAGE",
    .summary = "what the manifest of an image says",
    .help = PLACE_HELP "  -o, --output FILE   the manifest itself, signed, for 'muctl policy kms'\n"
                       "\n"
                       "IMAGE as for 'image revoke', of one image.\n"
                       "\n"
                       "Example: mu-verifier image show web:7\n",
    .run = run_image_show,
};
