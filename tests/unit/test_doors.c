/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/doors.h"
#include "test.h"

static const struct door *find(enum door_kind kind, const char *value)
{
    for (size_t i = 0; i < doors_count; i++)
        if (doors[i].kind == kind && strcmp(doors[i].value, value) == 0)
            return &doors[i];
    return NULL;
}

TEST(test_table)
{
    const struct door *word = find(DOOR_WORD, "efi=noruntime");

    assert_non_null(word);
    if (word == NULL)
        return; /* for the analyzer */
    assert_string_equal(word->name, "efivars");
    assert_string_equal(word->since, "linux-3.18");
    assert_int_equal(strncmp(word->reason, "SystemdOptions, an EFI", 22), 0);
    assert_non_null(find(DOOR_MODULE, "efivarfs"));
    assert_non_null(find(DOOR_UNIT, "systemd-pcrosseparator.service"));
    assert_null(find(DOOR_UNIT, "efivarfs"));
}

TEST(test_may_open)
{
    assert_true(door_may_open("efivars"));
    assert_true(door_may_open("swap"));
    assert_false(door_may_open(DOOR_NEVER));
    assert_false(door_may_open(""));
    assert_false(door_may_open("efivar"));
    assert_false(door_may_open("debug-shell.service"));
}
