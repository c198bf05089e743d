/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define FILE_MAX 65536u
#define VALUE_MAX 1024u
#define NAME_MAX_LENGTH 64u

enum kind {
    KIND_PATH,
    KIND_URL,
    KIND_TCTI,
    KIND_DEVICE,
    KIND_NAME,
    KIND_NUMBER,
    KIND_VERSION,
    KIND_FLAG,
    KIND_WORD
};

/* A key: where its value goes (offset from the section's structure) and what it may be. */
struct key {
    const char *section, *name;
    enum kind kind;
    size_t offset;
    unsigned min, max;
    const char *const *words; /* of KIND_WORD, in the order of its enum */
};

static const char *const actions[] = {"poweroff", "reboot", "halt", NULL};
static const char *const fallbacks[] = {"none", "passphrase", "shell", NULL};
static const char *const flags[] = {"no", "yes", NULL};

#define IN_CONFIG(field) offsetof(struct config, field)
#define IN_VOLUME(field) offsetof(struct volume_config, field)

static const struct key keys[] = {
    {"boot", "baseline", KIND_PATH, IN_CONFIG(baseline), 0, 0, NULL},
    {"boot", "builder_key", KIND_PATH, IN_CONFIG(builder_key), 0, 0, NULL},
    {"boot", "fence_pcr", KIND_NUMBER, IN_CONFIG(fence_pcr), 8, 15, NULL},
    {"boot", "timeout", KIND_NUMBER, IN_CONFIG(timeout), 5, 3600, NULL},
    {"boot", "minimum_record_version", KIND_VERSION, IN_CONFIG(minimum_record_version), 1,
     2147483647, NULL},
    {"boot", "action", KIND_WORD, IN_CONFIG(action), 0, 0, actions},
    {"boot", "fallback", KIND_WORD, IN_CONFIG(fallback), 0, 0, fallbacks},
    {"boot", "report", KIND_PATH, IN_CONFIG(report), 0, 0, NULL},
    {"tpm", "tcti", KIND_TCTI, IN_CONFIG(tcti), 0, 0, NULL},
    {"tpm", "eventlog", KIND_PATH, IN_CONFIG(eventlog), 0, 0, NULL},
    {"aws", "imds", KIND_URL, IN_CONFIG(imds), 0, 0, NULL},
    {"aws", "ca_file", KIND_PATH, IN_CONFIG(ca_file), 0, 0, NULL},
    {"aws", "kms_endpoint", KIND_URL, IN_CONFIG(kms_endpoint), 0, 0, NULL},
    {"aws", "fips", KIND_FLAG, IN_CONFIG(fips), 0, 0, flags},
    {"aws", "dual_stack", KIND_FLAG, IN_CONFIG(dual_stack), 0, 0, flags},
    {"volume", "device", KIND_DEVICE, IN_VOLUME(device), 0, 0, NULL},
    {"volume", "mapping", KIND_NAME, IN_VOLUME(mapping), 0, 0, NULL},
    {"volume", "provider", KIND_NAME, IN_VOLUME(provider), 0, 0, NULL},
    {"volume", "discard", KIND_FLAG, IN_VOLUME(discard), 0, 0, flags},
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

static const char *const sections[] = {"boot", "tpm", "aws", NULL};

static const struct {
    size_t offset;
    const char *value;
} default_text[] = {
    {IN_CONFIG(baseline), "/etc/measured-unlock/baseline.json"},
    {IN_CONFIG(builder_key), "/etc/measured-unlock/builder.pem"},
    {IN_CONFIG(report), "/run/measured-unlock/report.json"},
    {IN_CONFIG(eventlog), "/sys/kernel/security/tpm0/binary_bios_measurements"},
    {IN_CONFIG(imds), "http://169.254.169.254"},
    {IN_CONFIG(ca_file), "/etc/measured-unlock/ca.pem"},
};

/* Where the parser stands. */
struct parser {
    const char *path;
    unsigned line;
    const char *section;    /* NULL before the first one */
    void *target;           /* the structure that its keys go to */
    unsigned seen_sections; /* bit i: sections[i] */
    uint32_t seen_keys;     /* bit i: keys[i], of the current section */
    struct config *config;
};
_Static_assert(KEYS <= 32, "seen_keys holds one bit a key");

void config_free(struct config *config)
{
    char *const text[] = {config->baseline, config->builder_key, config->report,
                          config->tcti,     config->eventlog,    config->imds,
                          config->ca_file,  config->kms_endpoint};

    for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++)
        free(text[i]);
    for (size_t i = 0; i < config->volumes; i++) {
        free(config->volume[i].name);
        free(config->volume[i].device);
        free(config->volume[i].mapping);
        free(config->volume[i].provider);
    }
    *config = (struct config){0};
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* A device-mapper name that is also a safe file name; "control" is device-mapper's own. */
static bool is_name(const char *text)
{
    size_t len = strlen(text);

    return len >= 1 && len <= NAME_MAX_LENGTH &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") ==
               len &&
           strcmp(text, ".") != 0 && strcmp(text, "..") != 0 && strcmp(text, "control") != 0;
}

static bool is_device(const char *text)
{
    static const char *const prefixes[] = {"/", "UUID=", "PARTUUID=", "PARTLABEL=", "LABEL="};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (starts_with(text, prefixes[i]))
            return text[strlen(prefixes[i])] != '\0';
    return false;
}

/* NULL if the value may stand there; else what it must be. */
static const char *text_rule(enum kind kind, const char *value)
{
    switch (kind) {
    case KIND_PATH:
        return value[0] == '/' ? NULL : "must be an absolute path";
    case KIND_URL:
        return starts_with(value, "http://") || starts_with(value, "https://")
                   ? NULL
                   : "must be a URL with http:// or https://";
    case KIND_TCTI:
        return starts_with(value, "device:/") || starts_with(value, "swtpm:")
                   ? NULL
                   : "must be device:PATH or swtpm:host=H,port=N";
    case KIND_DEVICE:
        return is_device(value)
                   ? NULL
                   : "must be an absolute path, UUID=, PARTUUID=, PARTLABEL= or LABEL=";
    case KIND_NAME:
        return is_name(value) ? NULL : "must be 1 to 64 of A-Z a-z 0-9 _ . -, and not \"control\"";
    default:
        return NULL;
    }
}

static enum mu_status set_text(const struct parser *p, const struct key *key, const char *value,
                               struct mu_error *err)
{
    char **field = (char **)(void *)((char *)p->target + key->offset);
    const char *rule = text_rule(key->kind, value);
    char *copy;

    if (rule != NULL)
        return mu_fail(err, MU_CONFIG, "%s:%u: %s %s", p->path, p->line, key->name, rule);
    copy = strdup(value);
    if (copy == NULL)
        return mu_oom(err);
    free(*field);
    *field = copy;
    return MU_OK;
}

static enum mu_status set_number(const struct parser *p, const struct key *key, const char *value,
                                 struct mu_error *err)
{
    void *field = (char *)p->target + key->offset;
    size_t len = strlen(value);
    unsigned long number;

    number = len > 10 || strspn(value, "0123456789") != len ? 0 : strtoul(value, NULL, 10);
    if (number < key->min || number > key->max)
        return mu_fail(err, MU_CONFIG, "%s:%u: %s must be a number from %u to %u", p->path, p->line,
                       key->name, key->min, key->max);
    if (key->kind == KIND_VERSION)
        *(int64_t *)field = (int64_t)number;
    else
        *(unsigned *)field = (unsigned)number;
    return MU_OK;
}

static enum mu_status set_word(const struct parser *p, const struct key *key, const char *value,
                               struct mu_error *err)
{
    void *field = (char *)p->target + key->offset;
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
        *(unsigned *)field = i; /* an enum, see the assertions below */
    return MU_OK;
}
_Static_assert(sizeof(enum refusal_action) == sizeof(unsigned), "enums are stored as unsigned");
_Static_assert(sizeof(enum refusal_fallback) == sizeof(unsigned), "enums are stored as unsigned");

static enum mu_status begin_volume(struct parser *p, const char *name, struct mu_error *err)
{
    struct config *config = p->config;
    struct volume_config *volume = &config->volume[config->volumes];

    if (!is_name(name))
        return mu_fail(err, MU_CONFIG, "%s:%u: volume name %s", p->path, p->line,
                       text_rule(KIND_NAME, ""));
    for (size_t i = 0; i < config->volumes; i++)
        if (strcmp(config->volume[i].name, name) == 0)
            return mu_fail(err, MU_CONFIG, "%s:%u: volume %s is there twice", p->path, p->line,
                           name);
    if (config->volumes == CONFIG_VOLUMES_MAX)
        return mu_fail(err, MU_CONFIG, "%s:%u: more than %d volumes", p->path, p->line,
                       CONFIG_VOLUMES_MAX);
    volume->name = strdup(name);
    if (volume->name == NULL)
        return mu_oom(err);
    config->volumes++;
    p->section = "volume";
    p->target = volume;
    return MU_OK;
}

static enum mu_status check_section(const struct parser *p, struct mu_error *err)
{
    const struct volume_config *volume = p->target;

    if (p->section != NULL && strcmp(p->section, "volume") == 0 && volume->device == NULL)
        return mu_fail(err, MU_CONFIG, "%s: volume %s has no device", p->path, volume->name);
    return MU_OK;
}

/* `line` is "[...]" without the brackets. */
static enum mu_status begin_section(struct parser *p, const char *line, struct mu_error *err)
{
    MU_TRY(check_section(p, err));
    p->seen_keys = 0;
    if (starts_with(line, "volume "))
        return begin_volume(p, line + strlen("volume "), err);
    for (unsigned i = 0; sections[i] != NULL; i++) {
        if (strcmp(sections[i], line) != 0)
            continue;
        if (p->seen_sections & 1u << i)
            return mu_fail(err, MU_CONFIG, "%s:%u: section [%s] is there twice", p->path, p->line,
                           line);
        p->seen_sections |= 1u << i;
        p->section = sections[i];
        p->target = p->config;
        return MU_OK;
    }
    return mu_fail(err, MU_CONFIG, "%s:%u: unknown section [%.64s]", p->path, p->line, line);
}

static enum mu_status set_key(struct parser *p, const char *name, const char *value,
                              struct mu_error *err)
{
    unsigned i = 0;

    if (p->section == NULL)
        return mu_fail(err, MU_CONFIG, "%s:%u: \"%.64s\" stands before the first section", p->path,
                       p->line, name);
    while (i < KEYS &&
           (strcmp(keys[i].section, p->section) != 0 || strcmp(keys[i].name, name) != 0))
        i++;
    if (i == KEYS)
        return mu_fail(err, MU_CONFIG, "%s:%u: unknown key \"%.64s\" in section [%s]", p->path,
                       p->line, name, p->section);
    if (p->seen_keys & 1u << i)
        return mu_fail(err, MU_CONFIG, "%s:%u: %s is there twice", p->path, p->line, name);
    p->seen_keys |= 1u << i;
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
        if ((*c >= 0 && *c < 0x20 && *c != '\t') || *c == 0x7f)
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

static enum mu_status set_defaults(struct config *config, struct mu_error *err)
{
    for (size_t i = 0; i < sizeof(default_text) / sizeof(default_text[0]); i++) {
        char **field = (char **)(void *)((char *)config + default_text[i].offset);

        *field = strdup(default_text[i].value);
        if (*field == NULL)
            return mu_oom(err);
    }
    config->fence_pcr = 15;
    config->timeout = 120;
    config->minimum_record_version = 1;
    return MU_OK;
}

static enum mu_status finish_volumes(struct config *config, const char *path, struct mu_error *err)
{
    if (config->volumes == 0)
        return mu_fail(err, MU_CONFIG, "%s: no [volume NAME] section", path);
    for (size_t i = 0; i < config->volumes; i++) {
        struct volume_config *volume = &config->volume[i];

        if (volume->mapping == NULL && (volume->mapping = strdup(volume->name)) == NULL)
            return mu_oom(err);
        if (volume->provider == NULL && (volume->provider = strdup("aws-kms")) == NULL)
            return mu_oom(err);
        for (size_t j = 0; j < i; j++)
            if (strcmp(config->volume[j].mapping, volume->mapping) == 0)
                return mu_fail(err, MU_CONFIG, "%s: volumes %s and %s have the same mapping %s",
                               path, config->volume[j].name, volume->name, volume->mapping);
    }
    return MU_OK;
}

enum mu_status config_load(const char *path, struct config *ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer file = {0};
    MU_CLEANUP(config_free) struct config config = {0};
    struct parser p = {.path = path, .config = &config};
    char *next;

    MU_TRY(file_read(path, FILE_MAX, &file, err));
    if (memchr(file.data, 0, file.len) != NULL)
        return mu_fail(err, MU_CONFIG, "%s: zero byte: not a text file", path);
    MU_TRY(set_defaults(&config, err));
    next = (char *)file.data;
    while (next != NULL) {
        char *line = strsep(&next, "\n");

        p.line++;
        MU_TRY(parse_line(&p, line, err));
    }
    MU_TRY(check_section(&p, err));
    MU_TRY(finish_volumes(&config, path, err));
    *ret = config;
    config = (struct config){0};
    return MU_OK;
}
