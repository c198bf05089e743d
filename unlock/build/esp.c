/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/esp.h"

#include <ctype.h>
#include <dirent.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

bool esp_ends_with(const char *name, const char *suffix)
{
    size_t len = strlen(name), tail = strlen(suffix);

    return len > tail && strcasecmp(name + len - tail, suffix) == 0;
}

bool esp_begins_with(const char *name, const char *prefix)
{
    return strncasecmp(name, prefix, strlen(prefix)) == 0;
}

/* `below` is a constant of ours: two or three parts. */
void esp_each(const char *folder, const char *below,
              void (*visit)(void *context, const char *folder, const char *name), void *context)
{
    size_t len = strcspn(below, "/");
    DIR *dir = opendir(folder);
    struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;
        char path[ESP_PATH_MAX];

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (len == 0)
            visit(context, folder, name);
        else if (strlen(name) == len && strncasecmp(name, below, len) == 0 &&
                 (size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) < sizeof(path))
            esp_each(path, below + len + (below[len] == '/'), visit, context);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

/* The first entry of that name. */
struct wanted {
    const char *name;
    char *path;
};

static void take_wanted(void *context, const char *folder, const char *name)
{
    struct wanted *wanted = context;

    if (wanted->path == NULL && strcasecmp(name, wanted->name) == 0 &&
        asprintf(&wanted->path, "%s/%s", folder, name) < 0)
        wanted->path = NULL;
}

char *esp_find(const char *root, const char *folder, const char *name)
{
    struct wanted wanted = {.name = name};

    esp_each(root, folder, take_wanted, &wanted);
    return wanted.path;
}

char *esp_loader(const char *root)
{
    static const char *const names[] = {ESP_BOOT_FILE, "BOOTX64.EFI", "BOOTAA64.EFI"};
    char *path = NULL;

    for (size_t i = 0; path == NULL && i < MU_COUNT(names); i++)
        path = esp_find(root, "EFI/BOOT", names[i]);
    return path;
}

char *esp_loader_of(const char *image)
{
    static const char *const folders[] = {"Linux", "EFI"};
    char path[ESP_PATH_MAX];

    if ((size_t)snprintf(path, sizeof(path), "%s%s", image[0] == '/' ? "" : "./", image) >=
        sizeof(path))
        return NULL;
    *strrchr(path, '/') = '\0';
    for (size_t i = 0; i < MU_COUNT(folders); i++) {
        char *slash = strrchr(path, '/');

        if (slash == NULL || strcasecmp(slash + 1, folders[i]) != 0)
            return NULL;
        *slash = '\0';
    }
    return esp_loader(path[0] != '\0' ? path : "/");
}

const char *esp_describe(enum esp_kind kind)
{
    switch (kind) {
    case ESP_ADDON:
        return "an add-on, which is measured into PCR 4 and 12";
    case ESP_CREDENTIAL:
        return "a credential, which is measured into PCR 12";
    case ESP_CONFIGURATION:
        return "a configuration extension, which is measured into PCR 12";
    case ESP_EXTENSION:
        return "a system extension, which is measured into PCR 13";
    }
    return "";
}

struct search {
    void (*found)(void *context, enum esp_kind kind, const char *path);
    void *context;
};

static void take_companion(void *context, const char *folder, const char *name)
{
    static const struct {
        const char *suffix;
        enum esp_kind kind;
    } kinds[] = {{".addon.efi", ESP_ADDON},
                 {".cred", ESP_CREDENTIAL},
                 {".confext.raw", ESP_CONFIGURATION},
                 {".raw", ESP_EXTENSION}};
    const struct search *search = context;
    char path[ESP_PATH_MAX];

    for (size_t i = 0; i < MU_COUNT(kinds); i++) {
        if (!esp_ends_with(name, kinds[i].suffix))
            continue;
        if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) < sizeof(path))
            search->found(search->context, kinds[i].kind, path);
        return;
    }
}

/* Without a boot counter: "linux+3-1.efi" is "linux.efi" (UAPI.1). */
static void strip_counter(char *name)
{
    size_t len = strlen(name), from;

    if (!esp_ends_with(name, ".efi"))
        return;
    from = len -= 4;
    while (from > 0 && (isdigit((unsigned char)name[from - 1]) || name[from - 1] == '-'))
        from--;
    if (from > 0 && from < len && name[from - 1] == '+')
        memmove(name + from - 1, name + len, 5);
}

void esp_companions(const char *image,
                    void (*found)(void *context, enum esp_kind kind, const char *path),
                    void *context)
{
    static const char *const of_all[] = {"loader/addons", "loader/credentials",
                                         "loader/extensions"};
    struct search search = {found, context};
    char path[ESP_PATH_MAX], extra[ESP_PATH_MAX];
    char *name, *efi;

    if ((size_t)snprintf(path, sizeof(path), "%s%s", image[0] == '/' ? "" : "./", image) >=
        sizeof(path))
        return;
    name = strrchr(path, '/');
    *name++ = '\0';
    for (int stripped = 0; stripped < 2; stripped++) {
        size_t len = strlen(name);

        if (stripped == 1)
            strip_counter(name);
        if (stripped == 1 && strlen(name) == len)
            break;
        (void)snprintf(extra, sizeof(extra), "%.*s.extra.d", ESP_PATH_MAX - 9, name);
        esp_each(path[0] != '\0' ? path : "/", extra, take_companion, &search);
    }
    /* The image lies in a folder of EFI, on the same partition as the loader's. */
    efi = strrchr(path, '/');
    if (efi == NULL)
        return;
    *efi = '\0';
    efi = strrchr(path, '/');
    if (efi == NULL || strcasecmp(efi + 1, "EFI") != 0)
        return;
    *efi = '\0';
    for (size_t i = 0; i < MU_COUNT(of_all); i++)
        esp_each(path[0] != '\0' ? path : "/", of_all[i], take_companion, &search);
}
