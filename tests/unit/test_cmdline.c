/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/cmdline.h"
#include "test.h"

static struct cmdline parse(enum cmdline_reader reader, const char *text)
{
    struct cmdline line;

    assert_int_equal(cmdline_parse(text_view(text), reader, &line, &err), MU_OK);
    return line;
}

/* The words as "NAME(VALUE) NAME", for a comparison in one piece. */
static void shown(enum cmdline_reader reader, const char *text, char ret[static 256])
{
    MU_CLEANUP(cmdline_free) struct cmdline line = parse(reader, text);
    size_t len = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < line.count; i++) {
        const struct cmdline_word *word = &line.word[i];

        len += (size_t)snprintf(ret + len, 256 - len, "%s%s", i > 0 ? " " : "", word->name);
        if (word->value != NULL)
            len += (size_t)snprintf(ret + len, 256 - len, "(%s)", word->value);
        assert_true(len < 256);
    }
}

/* Those of the kernel are what dracut-getargs, which is the kernel's next_arg, made of each line;
 * those of systemd what systemd-run-generator 252 made of systemd.run= in such lines. */
static const struct {
    const char *line, *kernel, *systemd;
} cuts[] = {
    {"", "", ""},
    {"  ro  quiet\n", "ro quiet", "ro quiet"},
    {"a=1\tb= c", "a(1) b() c", "a(1) b() c"},
    {"a==b =c =d=e", "a(=b) =c =d(e)", "a(=b) (c) (d=e)"},
    {"root=\"PARTLABEL=Arch Linux\" rw", "root(PARTLABEL=Arch Linux) rw",
     "root(PARTLABEL=Arch Linux) rw"},
    {"\"root=a b\" c", "root(a b) c", "root(a b) c"},
    {"\"root=\"a b", "root(a) b", "root(a) b"},
    {"dyndbg=\"file x.c +p; init=/bin/sh\" ro", "dyndbg(file x.c +p; init=/bin/sh) ro",
     "dyndbg(file x.c +p; init=/bin/sh) ro"},
    {"a=b\"c d\"e f", "a(b\"c d\"e) f", "a(bc de) f"},
    {"a=\"b\"c", "a(b\"c)", "a(bc)"},
    {"a=\"b\"\"c\"", "a(b\"\"c)", "a(bc)"},
    {"a='b c' d", "a('b) c' d", "a(b c) d"},
    {"a=\"it's\" b", "a(it's) b", "a(it's) b"},
    {"a=it's b", "a(it's) b", "a(its b)"},
    {"a=b\\ c", "a(b\\) c", "a(b\\) c"},
    {"a=\"b c", "a(b c)", "a(b c)"},
    {"a=\"", "a()", "a()"},
    {"\"", "", ""},
    {"a=b\vc=d", "a(b) c(d)", "a(b\vc=d)"},
    {"a\xa0"
     "b",
     "a b",
     "a\xa0"
     "b"},
    {"a -- b=c", "a -- b(c)", "a -- b(c)"},
};

TEST(test_words)
{
    char found[256];

    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        shown(CMDLINE_KERNEL, cuts[i].line, found);
        assert_string_equal(found, cuts[i].kernel);
        shown(CMDLINE_DRACUT, cuts[i].line, found);
        assert_string_equal(found, cuts[i].kernel);
        shown(CMDLINE_SYSTEMD, cuts[i].line, found);
        assert_string_equal(found, cuts[i].systemd);
    }
}

TEST(test_position)
{
    MU_CLEANUP(cmdline_free) struct cmdline line = parse(CMDLINE_SYSTEMD, " 'a b'  \"c\"=d");

    assert_int_equal(line.count, 2);
    assert_int_equal(line.word[0].position, 1);
    assert_int_equal(line.word[1].position, 8);
}

TEST(test_zero_ends_the_line)
{
    static const uint8_t text[] = "a\0b";
    struct cmdline line;

    assert_int_equal(cmdline_parse((struct bytes){text, sizeof(text)}, CMDLINE_KERNEL, &line, &err),
                     MU_OK);
    assert_int_equal(line.count, 1);
    cmdline_free(&line);
    assert_int_equal(cmdline_parse((struct bytes){NULL, 0}, CMDLINE_KERNEL, &line, &err), MU_OK);
    assert_int_equal(line.count, 0);
    cmdline_free(&line);
}

TEST(test_names)
{
    for (enum cmdline_reader reader = 0; reader < CMDLINE_READERS; reader++) {
        bool same = reader != CMDLINE_DRACUT;

        assert_true(cmdline_name_is(reader, "systemd.gpt_auto", "systemd.gpt_auto"));
        assert_int_equal(cmdline_name_is(reader, "systemd.gpt-auto", "systemd.gpt_auto"), same);
        assert_int_equal(cmdline_name_is(reader, "a_b", "a-b"), same);
        assert_false(cmdline_name_is(reader, "a_b", "a.b"));
        assert_false(cmdline_name_is(reader, "a", "ab"));
        assert_false(cmdline_name_is(reader, "ab", "a"));
        assert_false(cmdline_name_is(reader, "a-", "a"));
        assert_true(cmdline_name_is(reader, "a.b", "a.*"));
        assert_false(cmdline_name_is(reader, "a.", "a.*"));
        assert_false(cmdline_name_is(reader, "b.c", "a.*"));
        assert_int_equal(cmdline_name_is(reader, "a-b", "a_*"), same);
    }
}

static const char *last(enum cmdline_reader reader, const char *text, const char *name)
{
    static char value[64];
    MU_CLEANUP(cmdline_free) struct cmdline line = parse(reader, text);
    const struct cmdline_word *word = cmdline_last(&line, name);

    if (word == NULL)
        return NULL;
    (void)snprintf(value, sizeof(value), "%s", word->value == NULL ? "(none)" : word->value);
    return value;
}

TEST(test_last)
{
    for (enum cmdline_reader reader = 0; reader < CMDLINE_READERS; reader++) {
        assert_string_equal(last(reader, "root=a ro root=b rw", "root"), "b");
        assert_string_equal(last(reader, "rd.shell=0 rd.shell", "rd.shell"), "(none)");
        assert_null(last(reader, "x=\"root=a\"", "root"));
        assert_null(last(reader, "root", "roo"));
    }
    /* The kernel stops at "--"; the others read on. */
    assert_string_equal(last(CMDLINE_KERNEL, "init=a -- init=b", "init"), "a");
    assert_string_equal(last(CMDLINE_SYSTEMD, "root=a -- root=b", "root"), "b");
    assert_string_equal(last(CMDLINE_DRACUT, "root=a -- root=b", "root"), "b");
    assert_null(last(CMDLINE_KERNEL, "\"--\" init=b", "init"));
    assert_string_equal(last(CMDLINE_KERNEL, "--=1 init=b", "init"), "b");
}

static bool is_off(enum cmdline_reader reader, const char *text)
{
    MU_CLEANUP(cmdline_free) struct cmdline line = parse(reader, text);

    return cmdline_is_off(reader, &line.word[0]);
}

TEST(test_off)
{
    for (enum cmdline_reader reader = 0; reader < CMDLINE_READERS; reader++) {
        assert_true(is_off(reader, "a=0"));
        assert_true(is_off(reader, "a=no"));
        assert_true(is_off(reader, "a=off"));
        assert_true(is_off(reader, "a=\"0\""));
        assert_false(is_off(reader, "a"));
        assert_false(is_off(reader, "a="));
        assert_false(is_off(reader, "a=1"));
        assert_false(is_off(reader, "a=on"));
        assert_false(is_off(reader, "a=10"));
    }
    assert_true(is_off(CMDLINE_SYSTEMD, "a=FALSE"));
    assert_true(is_off(CMDLINE_SYSTEMD, "a=n"));
    assert_false(is_off(CMDLINE_DRACUT, "a=false"));
    assert_false(is_off(CMDLINE_DRACUT, "a=n"));
    assert_true(is_off(CMDLINE_KERNEL, "a=never"));
    assert_false(is_off(CMDLINE_SYSTEMD, "a=never"));
}

TEST(test_lists)
{
    MU_CLEANUP(cmdline_free)
    struct cmdline line = parse(CMDLINE_KERNEL, "efi=debug,noruntime efi efi= efi=noruntimes");

    assert_true(cmdline_lists(&line.word[0], "noruntime"));
    assert_true(cmdline_lists(&line.word[0], "debug"));
    assert_false(cmdline_lists(&line.word[0], "runtime"));
    assert_false(cmdline_lists(&line.word[1], "noruntime"));
    assert_false(cmdline_lists(&line.word[2], "noruntime"));
    assert_false(cmdline_lists(&line.word[3], "noruntime"));
}
