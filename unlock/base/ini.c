/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/ini.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define FILE_MAX 65536u
#define VALUE_MAX 2048u

const char *const ini_flags[] = {"no", "yes", NULL};

/* The state of the parser. */
struct parser {
    const char *path;
    unsigned line;
    const struct ini_schema *schema;
    char *target;
    const struct ini_section *section; /* NULL before the first one */
    char *into;                        /* the structure that its keys go to */
    uint64_t seen_sections;            /* bit i: sections[i] */
    uint64_t seen_keys;                /* bit i: keys[i], of the current section */
};
#define BIT(i) ((uint64_t)1 << (i))

static char **string_at(char *structure, size_t offset)
{
    return (char **)(void *)(structure + offset);
}

static size_t *count_of(const struct ini_section *section, char *target)
{
    return (size_t *)(void *)(target + section->count);
}

static void free_section(const struct ini_schema *schema, const struct ini_section *section,
                         char *structure)
{
    for (size_t i = 0; i < schema->key_count; i++) {
        const struct ini_key *key = &schema->keys[i];

        if (key->kind < KIND_NUMBER && strcmp(key->section, section->name) == 0)
            string_free(string_at(structure, key->offset));
    }
}

void ini_free(const struct ini_schema *schema, void *target)
{
    for (size_t i = 0; i < schema->section_count; i++) {
        const struct ini_section *section = &schema->sections[i];
        char *structure = (char *)target + section->offset;

        if (section->size == 0) {
            free_section(schema, section, structure);
            continue;
        }
        for (size_t n = *count_of(section, target); n > 0; n--, structure += section->size) {
            string_free(string_at(structure, 0));
            free_section(schema, section, structure);
        }
        *count_of(section, target) = 0;
    }
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* A device-mapper name that is also a safe file name; "control" is device-mapper's own. */
bool ini_is_name(const char *text)
{
    size_t len = strlen(text);

    return len >= 1 && len <= INI_NAME_MAX &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") ==
               len &&
           strcmp(text, ".") != 0 && strcmp(text, "..") != 0 && strcmp(text, "control") != 0;
}

static bool is_device(const char *text)
{
    static const char *const prefixes[] = {"/", "UUID=", "PARTUUID=", "PARTLABEL=", "LABEL="};

    for (size_t i = 0; i < MU_COUNT(prefixes); i++)
        if (starts_with(text, prefixes[i]))
            return text[strlen(prefixes[i])] != '\0';
    return false;
}

struct bytes ini_next_item(const char **at, const char *between)
{
    const char *from = *at + strspn(*at, between);
    size_t len = strcspn(from, between);

    *at = from + len;
    return (struct bytes){(const uint8_t *)from, len};
}

bool ini_lists(const char *list, const char *between, const char *item)
{
    struct bytes wanted = {(const uint8_t *)item, strlen(item)}, listed;

    while ((listed = ini_next_item(&list, between)).len > 0)
        if (bytes_equal(listed, wanted))
            return true;
    return false;
}

static bool is_url(const char *text)
{
    return starts_with(text, "http://") || starts_with(text, "https://");
}

/* eu-west-1=https://HOST is one, too. */
static bool is_url_of_region(const char *text)
{
    size_t region = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return is_url(text) || (region > 0 && text[region] == '=' && is_url(text + region + 1));
}

static bool is_key_arn(const char *text)
{
    const char *key = strstr(text, ":key/");

    return starts_with(text, "arn:") && key != NULL && key < text + strcspn(text, INI_LIST_BETWEEN);
}

/* True if there are items, and all of them are such. */
static bool is_list_of(bool (*is)(const char *text), const char *list)
{
    struct bytes item = ini_next_item(&list, INI_LIST_BETWEEN);
    bool ok = item.len > 0;

    for (; ok && item.len > 0; item = ini_next_item(&list, INI_LIST_BETWEEN))
        ok = is((const char *)item.data);
    return ok;
}

/* NULL if the value may stand there; else what it must be. */
static const char *text_rule(enum ini_kind kind, const char *value)
{
    switch (kind) {
    case KIND_PATH:
        return value[0] == '/' ? NULL : "must be an absolute path";
    case KIND_URL:
        return is_url(value) ? NULL : "must be a URL with http:// or https://";
    case KIND_URLS:
        return is_list_of(is_url_of_region, value)
                   ? NULL
                   : "must be a URL with http:// or https://, or several as REGION=URL";
    case KIND_TCTI:
        return starts_with(value, "device:/") || starts_with(value, "swtpm:")
                   ? NULL
                   : "must be device:PATH or swtpm:host=H,port=N";
    case KIND_DEVICE:
        return is_device(value)
                   ? NULL
                   : "must be an absolute path, UUID=, PARTUUID=, PARTLABEL= or LABEL=";
    case KIND_NAME:
        return ini_is_name(value) ? NULL
                                  : "must be 1 to 64 of A-Z a-z 0-9 _ . -, and not \"control\"";
    case KIND_ARNS:
        return is_list_of(is_key_arn, value)
                   ? NULL
                   : "must be the ARN of a KMS key, arn:aws:kms:REGION:ACCOUNT:key/ID, or several";
    default:
        return NULL;
    }
}

static enum mu_status set_text(const struct parser *p, const struct ini_key *key, const char *value,
                               struct mu_error *err)
{
    const char *rule = text_rule(key->kind, value);

    if (rule != NULL)
        return mu_fail(err, MU_CONFIG, "%s:%u: %s %s", p->path, p->line, key->name, rule);
    return string_set(string_at(p->into, key->offset), value, err);
}

static void put_number(const struct ini_key *key, char *into, unsigned long number)
{
    void *field = into + key->offset;

    if (key->kind == KIND_VERSION)
        *(int64_t *)field = (int64_t)number;
    else
        *(unsigned *)field = (unsigned)number;
}

static enum mu_status set_number(const struct parser *p, const struct ini_key *key,
                                 const char *value, struct mu_error *err)
{
    size_t len = strlen(value);
    unsigned long number;

    number = len > 10 || strspn(value, "0123456789") != len ? 0 : strtoul(value, NULL, 10);
    if (number < key->min || number > key->max)
        return mu_fail(err, MU_CONFIG, "%s:%u: %s must be a number from %u to %u", p->path, p->line,
                       key->name, key->min, key->max);
    put_number(key, p->into, number);
    return MU_OK;
}

static enum mu_status set_word(const struct parser *p, const struct ini_key *key, const char *value,
                               struct mu_error *err)
{
    void *field = p->into + key->offset;
    unsigned i = 0;

    while (key->words[i] != NULL && strcmp(key->words[i], value) != 0)
        i++;
    if (key->words[i] == NULL)
        return mu_fail(err, MU_CONFIG, "%s:%u: %s must be %s, %s%s%s", p->path, p->line, key->name,
                       key->words[0], key->words[1], key->words[2] ? " or " : "",
                       key->words[2] ? key->words[2] : "");
    if (key->kind == KIND_FLAG)
        *(bool *)field = i != 0;
    else
        *(unsigned *)field = i; /* an enum */
    return MU_OK;
}

static enum mu_status set_presets(const struct parser *p, const struct ini_section *section,
                                  char *into, struct mu_error *err)
{
    for (size_t i = 0; i < p->schema->key_count; i++) {
        const struct ini_key *key = &p->schema->keys[i];

        if (strcmp(key->section, section->name) != 0)
            continue;
        if (key->preset != 0)
            put_number(key, into, key->preset);
        if (key->text != NULL)
            MU_TRY(string_set(string_at(into, key->offset), key->text, err));
    }
    return MU_OK;
}

static enum mu_status begin_named(struct parser *p, const struct ini_section *section,
                                  const char *name, struct mu_error *err)
{
    size_t *count = count_of(section, p->target);
    char *first = p->target + section->offset;
    char *into = first + *count * section->size;

    if (!ini_is_name(name))
        return mu_fail(err, MU_CONFIG, "%s:%u: %s name %s", p->path, p->line, section->name,
                       text_rule(KIND_NAME, ""));
    for (size_t i = 0; i < *count; i++)
        if (strcmp(*string_at(first + i * section->size, 0), name) == 0)
            return mu_fail(err, MU_CONFIG, "%s:%u: %s %s occurs twice", p->path, p->line,
                           section->name, name);
    if (*count == section->max)
        return mu_fail(err, MU_CONFIG, "%s:%u: more than %zu %ss", p->path, p->line, section->max,
                       section->name);
    MU_TRY(string_set(string_at(into, 0), name, err));
    ++*count;
    p->into = into;
    return set_presets(p, section, into, err);
}

static enum mu_status begin_plain(struct parser *p, const struct ini_section *section, size_t bit,
                                  struct mu_error *err)
{
    if ((p->seen_sections & BIT(bit)) != 0)
        return mu_fail(err, MU_CONFIG, "%s:%u: section [%s] occurs twice", p->path, p->line,
                       section->name);
    p->seen_sections |= BIT(bit);
    p->into = p->target + section->offset;
    return MU_OK;
}

/* `line` is "[...]" without the brackets. */
static enum mu_status begin_section(struct parser *p, const char *line, struct mu_error *err)
{
    size_t len = strcspn(line, " ");

    p->seen_keys = 0;
    for (size_t i = 0; i < p->schema->section_count; i++) {
        const struct ini_section *section = &p->schema->sections[i];

        if (strlen(section->name) != len || strncmp(section->name, line, len) != 0 ||
            (section->size != 0) != (line[len] == ' '))
            continue;
        p->section = section;
        return section->size != 0 ? begin_named(p, section, line + len + 1, err)
                                  : begin_plain(p, section, i, err);
    }
    return mu_fail(err, MU_CONFIG, "%s:%u: unknown section [%.64s]", p->path, p->line, line);
}

static enum mu_status set_key(struct parser *p, const char *name, const char *value,
                              struct mu_error *err)
{
    const struct ini_key *keys = p->schema->keys;
    size_t i = 0;

    if (p->section == NULL)
        return mu_fail(err, MU_CONFIG, "%s:%u: \"%.64s\" stands before the first section", p->path,
                       p->line, name);
    while (i < p->schema->key_count &&
           (strcmp(keys[i].section, p->section->name) != 0 || strcmp(keys[i].name, name) != 0))
        i++;
    if (i == p->schema->key_count)
        return mu_fail(err, MU_CONFIG, "%s:%u: unknown key \"%.64s\" in section [%s]", p->path,
                       p->line, name, p->section->name);
    if ((p->seen_keys & BIT(i)) != 0)
        return mu_fail(err, MU_CONFIG, "%s:%u: %s occurs twice", p->path, p->line, name);
    p->seen_keys |= BIT(i);
    if (value[0] == '\0' || strlen(value) > VALUE_MAX)
        return mu_fail(err, MU_CONFIG, "%s:%u: %s must have 1 to %u characters", p->path, p->line,
                       name, VALUE_MAX);
    switch (keys[i].kind) {
    case KIND_NUMBER:
    case KIND_VERSION:
        return set_number(p, &keys[i], value, err);
    case KIND_FLAG:
    case KIND_WORD:
        return set_word(p, &keys[i], value, err);
    default:
        return set_text(p, &keys[i], value, err);
    }
}

/* Cuts blanks off both ends, in place. */
static char *trim(char *text)
{
    size_t len;

    text += strspn(text, " \t");
    for (len = strlen(text); len > 0 && strchr(" \t", text[len - 1]) != NULL; len--)
        ;
    text[len] = '\0';
    return text;
}

static enum mu_status parse_line(struct parser *p, char *line, struct mu_error *err)
{
    char *equals;
    size_t len;

    for (const char *c = line; *c != '\0'; c++)
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f)
            return mu_fail(err, MU_CONFIG, "%s:%u: control character", p->path, p->line);
    line = trim(line);
    len = strlen(line);
    if (len == 0 || line[0] == '#')
        return MU_OK;
    if (line[0] == '[' && line[len - 1] == ']') {
        line[len - 1] = '\0';
        return begin_section(p, trim(line + 1), err);
    }
    equals = strchr(line, '=');
    if (line[0] == '[' || equals == NULL)
        return mu_fail(err, MU_CONFIG, "%s:%u: neither \"[section]\" nor \"key = value\"", p->path,
                       p->line);
    *equals = '\0';
    return set_key(p, trim(line), trim(equals + 1), err);
}

static enum mu_status parse(struct parser *p, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer file = {0};
    char *next;

    MU_TRY(file_read(p->path, FILE_MAX, &file, err));
    if (memchr(file.data, 0, file.len) != NULL)
        return mu_fail(err, MU_CONFIG, "%s: zero byte: not a text file", p->path);
    next = (char *)file.data;
    while (next != NULL) {
        char *line = strsep(&next, "\n");

        p->line++;
        MU_TRY(parse_line(p, line, err));
    }
    return MU_OK;
}

static enum mu_status check_needed(const struct parser *p, const struct ini_section *section,
                                   char *from, struct mu_error *err)
{
    for (size_t i = 0; i < p->schema->key_count; i++) {
        const struct ini_key *key = &p->schema->keys[i];

        if (!key->needed || strcmp(key->section, section->name) != 0 ||
            *string_at(from, key->offset) != NULL)
            continue;
        if (section->size == 0)
            return mu_fail(err, MU_CONFIG, "%s: section [%s] has no %s", p->path, section->name,
                           key->name);
        return mu_fail(err, MU_CONFIG, "%s: %s %s has no %s", p->path, section->name,
                       *string_at(from, 0), key->name);
    }
    return MU_OK;
}

enum mu_status ini_load(const char *path, const struct ini_schema *schema, void *target,
                        struct mu_error *err)
{
    struct parser p = {.path = path, .schema = schema, .target = target};

    for (size_t i = 0; i < schema->section_count; i++)
        if (schema->sections[i].size == 0)
            MU_TRY(
                set_presets(&p, &schema->sections[i], p.target + schema->sections[i].offset, err));
    if (path == NULL)
        return MU_OK;
    MU_TRY(parse(&p, err));
    for (size_t i = 0; i < schema->section_count; i++) {
        const struct ini_section *section = &schema->sections[i];
        size_t count = section->size == 0 ? 1 : *count_of(section, p.target);

        if (count == 0 && !section->optional)
            return mu_fail(err, MU_CONFIG, "%s: no [%s NAME] section", path, section->name);
        for (size_t n = 0; n < count; n++)
            MU_TRY(check_needed(&p, section, p.target + section->offset + n * section->size, err));
    }
    return MU_OK;
}
