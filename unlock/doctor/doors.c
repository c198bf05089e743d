/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/doors.h"
#include "base/file.h"
#include "build/cmdline.h"
#include "doctor/doctor.h"

#define CMDLINE_MAX 65536
#define WORD_MAX 64
#define GENERATORS "etc/systemd/system-generators/"
#define UNITS "etc/systemd/system/"

/* A word of the table, taken apart. */
struct wanted {
    enum cmdline_reader reader;
    char name[WORD_MAX];
    const char *value; /* NULL: the name alone */
    bool off;          /* the value switches something of systemd's off */
};

static struct wanted wanted_of(const struct door *door)
{
    bool systemd = strncmp(door->value, "systemd.", 8) == 0;
    struct wanted wanted = {.reader = systemd ? CMDLINE_SYSTEMD : CMDLINE_KERNEL};
    size_t len = strcspn(door->value, "=");

    (void)snprintf(wanted.name, sizeof(wanted.name), "%.*s", (int)len, door->value);
    if (door->value[len] == '=')
        wanted.value = door->value + len + 1;
    if (systemd && wanted.value != NULL) {
        struct cmdline_word word = {.name = wanted.name, .value = wanted.value};

        wanted.off = cmdline_is_off(wanted.reader, &word);
    }
    return wanted;
}

static bool is_named(const struct wanted *wanted, const struct cmdline_word *word)
{
    return !word->to_init &&
           cmdline_name_is(wanted->reader, cmdline_without_rd(wanted->reader, word->name),
                           wanted->name);
}

/* A word that switches something off must do so wherever it stands: which of two words counts
 * differs between versions, and between the initramfs and the root. */
static bool has_word(const struct cmdlines *line, const struct door *door)
{
    struct wanted wanted = wanted_of(door);
    const struct cmdline *words = &line->as[wanted.reader];
    bool found = false;

    for (size_t i = 0; i < words->count; i++) {
        const struct cmdline_word *word = &words->word[i];

        if (!is_named(&wanted, word))
            continue;
        if (wanted.off && !cmdline_is_off(wanted.reader, word))
            return false;
        if (wanted.off)
            found |= strncmp(word->name, "rd.", 3) != 0;
        else
            found |= wanted.value == NULL || cmdline_lists(word, wanted.value);
    }
    return found;
}

static bool has_forbidden(const struct cmdlines *line, const struct door *door)
{
    struct wanted wanted = wanted_of(door);
    const struct cmdline *words = &line->as[wanted.reader];

    for (size_t i = 0; i < words->count; i++) {
        const struct cmdline_word *word = &words->word[i];

        if (is_named(&wanted, word) &&
            (wanted.value != NULL ? cmdline_lists(word, wanted.value)
                                  : !cmdline_is_off(wanted.reader, word)))
            return true;
    }
    return false;
}

static bool is_module(const char *path, const char *module)
{
    const char *name = strrchr(path, '/'), *end = strstr(path, ".ko");
    size_t len = strlen(module);

    name = name == NULL ? path : name + 1;
    if (end == NULL || end < name || (size_t)(end - name) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((name[i] == '-' ? '_' : name[i]) != module[i])
            return false;
    return true;
}

static bool has_module(const struct initramfs *image, const char *module)
{
    for (size_t i = 0; i < image->entries; i++)
        if (S_ISREG(image->entry[i].mode) && is_module(image->entry[i].name, module))
            return true;
    return false;
}

static bool is_masked(const struct initramfs *image, const char *folder, const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s%s", folder, name);
    return initramfs_is_link(image, path, "/dev/null");
}

/* ---- the report ---- */

static const char add_word[] = "put %s on the kernel command line; dracut --uefi does it";
static const char take_out[] = "take it out of the kernel command line and build the image again";
static const char rebuild[] = "build the image again: dracut --force";

/* The subject of the check; image: NULL for the running machine. */
struct gate {
    struct doctor *doctor;
    const char *finding;
    const struct initramfs *image;
    bool systemd;                /* in the image */
    const struct cmdlines *line; /* NULL: nothing shows it */
    const char *where;           /* it is from */
    unsigned shut, failed;
};

static void complain(struct gate *gate, const struct door *door, const char *what, const char *cure)
{
    char fix[512], open[128] = "";

    gate->failed++;
    if (door_may_open(door->name))
        (void)snprintf(open, sizeof(open), "; or leave it open: 'open = %s' in [boot]", door->name);
    (void)snprintf(fix, sizeof(fix), "%s%s", cure, open);
    doctor_fail(gate->doctor, MU_CONFIG, gate->finding, fix, "%s %s: %s (%s)", door->value, what,
                door->reason, door->since);
}

static void check_word(struct gate *gate, const struct door *door)
{
    char cure[256], what[192];

    (void)snprintf(cure, sizeof(cure), add_word, door->value);
    (void)snprintf(what, sizeof(what), "is missing from %s, or taken back there", gate->where);
    if (has_word(gate->line, door))
        gate->shut++;
    else
        complain(gate, door, what, cure);
}

static void check_forbidden(struct gate *gate, const struct door *door)
{
    char what[192];

    (void)snprintf(what, sizeof(what), "stands in %s", gate->where);
    if (has_forbidden(gate->line, door))
        complain(gate, door, what, take_out);
    else
        gate->shut++;
}

/* Units and generators that are not in the image count as well: another image has them. */
static void check_mask(struct gate *gate, const struct door *door, const char *folder)
{
    if (!gate->systemd)
        return;
    if (is_masked(gate->image, folder, door->value))
        gate->shut++;
    else
        complain(gate, door,
                 gate->image->unseen.status == MU_OK
                     ? "is not masked in the initramfs"
                     : "is not masked in what could be seen of the initramfs",
                 rebuild);
}

static void check_module(struct gate *gate, const struct door *door)
{
    if (has_module(gate->image, door->value))
        complain(gate, door, "is a kernel module in the initramfs", rebuild);
    else
        gate->shut++;
}

static void check_door(struct gate *gate, const struct door *door)
{
    switch (door->kind) {
    case DOOR_WORD:
        if (gate->line != NULL)
            check_word(gate, door);
        break;
    case DOOR_FORBIDDEN:
        if (gate->line != NULL)
            check_forbidden(gate, door);
        break;
    case DOOR_GENERATOR:
        if (gate->image != NULL)
            check_mask(gate, door, GENERATORS);
        break;
    case DOOR_UNIT:
        if (gate->image != NULL)
            check_mask(gate, door, UNITS);
        break;
    case DOOR_MODULE:
        if (gate->image != NULL)
            check_module(gate, door);
        break;
    }
}

static void check_doors(struct gate *gate)
{
    struct doctor *doctor = gate->doctor;

    for (size_t i = 0; i < doors_count; i++)
        if (!config_opens(&doctor->config, doors[i].name))
            check_door(gate, &doors[i]);
        else if (door_is_first_of_its_name(i))
            doctor_warn(doctor, gate->finding, "take it out of 'open =' unless it is wanted",
                        "'open = %s': %s", doors[i].name, doors[i].reason);
    if (gate->failed == 0)
        doctor_ok(doctor, gate->finding, "%u doors are shut", gate->shut);
}

void doctor_check_doors(struct doctor *doctor, const struct initramfs *image, bool systemd)
{
    MU_CLEANUP(cmdlines_free) struct cmdlines line = {0};
    struct gate gate = {.doctor = doctor,
                        .finding = "image-doors",
                        .image = image,
                        .systemd = systemd,
                        .where = image->cmdline_name};
    struct mu_error err = {0};

    if (!image->uki)
        doctor_warn(doctor, gate.finding, "run 'muctl doctor --instance' on the machine it starts",
                    "not done: an initramfs alone does not show its kernel command line");
    else if (cmdlines_parse(image->cmdline, &line, &err) == MU_OK)
        gate.line = &line;
    else
        doctor_fail(doctor, err.status, gate.finding, "try again", "%s", err.text);
    check_doors(&gate);
}

void doctor_check_running_doors(struct doctor *doctor)
{
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    MU_CLEANUP(cmdlines_free) struct cmdlines line = {0};
    struct gate gate = {
        .doctor = doctor, .finding = "running-doors", .line = &line, .where = "/proc/cmdline"};
    char path[DOCTOR_PATH_MAX];
    struct mu_error err = {0};

    doctor_path(doctor, "/proc/cmdline", path);
    if (file_read(path, CMDLINE_MAX, &text, &err) != MU_OK)
        doctor_warn(doctor, gate.finding, "mount /proc", "not done: %s", err.text);
    else if (cmdlines_parse(buffer_view(&text), &line, &err) != MU_OK)
        doctor_fail(doctor, err.status, gate.finding, "try again", "%s", err.text);
    else
        check_doors(&gate);
}
