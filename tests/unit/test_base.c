/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/harden.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/secret.h"
#include "base/time.h"
#include "test.h"

/* In a child, which then is what process_harden makes of it: exit status 0, or a number that tells
 * which property is missing. */
static int hardened(enum process_kind kind)
{
    struct rlimit core = {1, 1};
    struct secret secret;

    if (process_harden(kind, &err) != MU_OK)
        return 1;
    if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0 || core.rlim_max != 0)
        return 2;
    if ((kind == PROCESS_BOOT || geteuid() == 0) && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        return 3;
    if (umask(0) != 077)
        return 4;
    if (secret_alloc(&secret, 32, &err) != MU_OK)
        return 5;
    secret_free(&secret);
    return 0;
}

/* An ordinary user who may not lock anything. */
static int hardened_without_lock(enum process_kind kind)
{
    const struct rlimit none = {0, 0};
    struct secret secret;

    if (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || setuid(65534) != 0 ||
        process_harden(kind, &err) != MU_OK)
        return 1;
    return secret_alloc(&secret, 32, &err) == MU_OK ? 0 : 10 + (int)err.status;
}

static int in_child(int (*what)(enum process_kind), enum process_kind kind)
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0)
        _exit(what(kind));
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The first one: OpenSSL has not allocated anything yet. */
TEST(test_harden)
{
    assert_int_equal(in_child(hardened, PROCESS_BOOT), 0);
    assert_int_equal(in_child(hardened, PROCESS_TOOL), 0);
    if (geteuid() != 0) {
        print_message("not root: what happens where nothing can be locked is not tested\n");
        skip();
    }
#ifdef __SANITIZE_ADDRESS__
    print_message("AddressSanitizer lets every mlock succeed: what happens where nothing can be "
                  "locked is not tested\n");
    skip();
#endif
    assert_int_equal(in_child(hardened_without_lock, PROCESS_BOOT), 10 + MU_CONFIG);
    assert_int_equal(in_child(hardened_without_lock, PROCESS_TOOL), 0);
}

TEST(test_clock)
{
    uint64_t start = clock_now_us();
    struct deadline past = {0};
    struct deadline soon = {.at_us = start + 30000};
    struct deadline far = deadline_in(3600);
    atomic_bool stopped = false, part_stopped = false;

    assert_true(deadline_passed(past));
    assert_int_equal(deadline_left_ms(past, 100), 0);
    assert_false(deadline_passed(far));
    assert_int_equal(deadline_left_ms(far, 100), 100);
    assert_in_range(deadline_left_ms(far, UINT32_MAX), 3599000, 3600000);
    assert_true(clock_pause_ms(5, soon));
    assert_true(clock_now_us() - start >= 5000);
    assert_false(clock_pause_ms(10000, soon)); /* until the deadline, not longer */
    assert_in_range(clock_now_us() - start, 30000, 2000000);
    assert_false(clock_pause_ms(1, past));
    far.stop = &stopped;
    far.part = &part_stopped;
    assert_false(deadline_passed(far));
    atomic_store(&part_stopped, true);
    assert_true(deadline_passed(far));
    atomic_store(&part_stopped, false);
    atomic_store(&stopped, true);
    assert_true(deadline_passed(far));
}

TEST(test_time)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-02-28T23:59:59.4567Z", 1772323199456},
        {"2024-02-29t12:00:00z", 1709208000000},
        {"2026-11-28T01:30:00+01:30", 1795824000000},
        {"2026-11-27T22:30:00-01:30", 1795824000000},
        {"9999-12-31T23:59:59Z", 253402300799000},
    };
    static const char *const bad[] = {"",
                                      "2026-11-28",
                                      "2026-11-28T00:00:00",
                                      "2026-11-28 00:00:00Z",
                                      "2026-02-29T00:00:00Z",
                                      "2026-13-01T00:00:00Z",
                                      "2026-11-31T00:00:00Z",
                                      "2026-11-28T24:00:00Z",
                                      "2026-11-28T00:60:00Z",
                                      "2026-11-28T00:00:60Z",
                                      "2026-11-28T00:00:00.Z",
                                      "2026-11-28T00:00:00+24:00",
                                      "2026-11-28T00:00:00+0100",
                                      "2026-11-28T00:00:00ZZ",
                                      "1969-12-31T23:59:59Z",
                                      " 2026-11-28T00:00:00Z",
                                      "2026-1-28T00:00:000Z"};
    char text[TIME_TEXT];
    uint64_t ms;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(time_parse(good[i].text, &ms));
        assert_int_equal(ms, good[i].ms);
        assert_true(time_text_ms(ms, text));
        assert_true(time_parse(text, &ms));
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (time_parse(bad[i], &ms))
            fail_msg("'%s' is taken", bad[i]);
    assert_true(time_text(1795824000, text));
    assert_string_equal(text, "2026-11-28T00:00:00Z");
    assert_false(time_text(-1, text));
    assert_string_equal(text, "");
    assert_false(time_text(253402300800, text));
    assert_true(time_now_ms() > 1795824000000);
}

TEST(test_time_catches_up)
{
    const uint64_t day = 86400000, start = time_now_ms();

    time_catch_up(0);
    time_catch_up(start - day);
    time_catch_up(start + 30000);
    time_catch_up(UINT64_MAX);
    assert_int_equal(time_ahead_s(), 0);
    time_catch_up(start + day);
    assert_in_range(time_now_ms(), start + day, start + day + 3600000);
    assert_in_range(time_ahead_s(), 86400 - 3600, 86400);
    time_catch_up(start + 2 * day);
    time_catch_up(start + day);
    assert_in_range(time_now_ms(), start + 2 * day, start + 2 * day + 3600000);
}

TEST(test_backoff)
{
    static const struct retry_policy four = {.first_ms = 4, .longest_ms = 5000, .attempts = 4};
    static const struct retry_policy slow = {
        .first_ms = 1000, .longest_ms = 5000, .unanswered_ms = 4};
    struct retry retry = {.policy = &four, .deadline = deadline_in(3600)};
    uint64_t start = clock_now_us();

    assert_false(retry_after(&retry, MU_OK) || retry_after(&retry, MU_REFUSE));
    for (unsigned attempt = 0; attempt < 4; attempt++)
        assert_true(retry_after(&retry, MU_RETRY));
    /* 4 + 8 + 16 + 32 ms; jitter takes off at most half */
    assert_in_range(clock_now_us() - start, 30000 - 4000, 2000000);
    assert_false(retry_pause(&retry));
    start = clock_now_us();
    retry = (struct retry){.policy = &slow,
                           .deadline = (struct deadline){.at_us = start + 20000},
                           .attempt = 4000000000u};
    assert_false(retry_pause(&retry));
    assert_in_range(clock_now_us() - start, 20000, 2000000);
    retry = (struct retry){.policy = &slow, .deadline = deadline_in(3600), .unanswered = true};
    start = clock_now_us();
    assert_true(retry_pause(&retry));
    assert_in_range(clock_now_us() - start, 2000, 900000);
}

TEST(test_why_all_attempts_failed)
{
    struct retry retry = {.policy = &retry_machine, .deadline = deadline_in(3600), .error = &err};

    (void)mu_fail(&err, MU_RETRY, "throttled");
    assert_true(retry_after(&retry, MU_RETRY));
    (void)mu_fail(&err, MU_RETRY, "out of reach");
    assert_true(retry_after(&retry, MU_RETRY));
    retry.deadline = deadline_in(0);
    (void)mu_fail(&err, MU_RETRY, "no time is left");
    assert_false(retry_after(&retry, MU_RETRY));
    assert_string_equal(err.text, "out of reach");
    (void)mu_fail(&err, MU_REFUSE, "denied");
    assert_false(retry_after(&retry, MU_REFUSE));
    assert_string_equal(err.text, "denied");
    retry = (struct retry){.policy = &retry_machine, .deadline = deadline_in(0), .error = &err};
    (void)mu_fail(&err, MU_RETRY, "no time is left");
    assert_false(retry_after(&retry, MU_RETRY));
    assert_string_equal(err.text, "no time is left");
}

/* What log_line(text) writes to standard error. */
static const char *logged(const char *text)
{
    static char out[16384];
    int old = dup(STDERR_FILENO);
    FILE *file = tmpfile();
    size_t len;

    assert_non_null(file);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    log_line("%s", text);
    assert_true(dup2(old, STDERR_FILENO) >= 0);
    (void)close(old);
    rewind(file);
    len = fread(out, 1, sizeof(out) - 1, file);
    out[len] = '\0';
    (void)fclose(file);
    return out;
}

TEST(test_log)
{
    log_init("test");
    assert_string_equal(logged("PCR 4 differs"), "test: PCR 4 differs\n");
    assert_string_equal(logged(""), "test: \n");
    assert_string_equal(logged("a\nb\x1b[2J\xc3\xa9\x7f"),
                        "test: a\\x0ab\\x1b[2J\\xc3\\xa9\\x7f\n");
}

TEST(test_log_folds)
{
    char text[3000];
    char *line, *rest;
    size_t words = 0;

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 7 == 6 ? ' ' : 'w';
    text[900] = '\0';
    rest = strdup(logged(text));
    assert_non_null(rest);
    for (char *next = rest; (line = strsep(&next, "\n")) != NULL && *line != '\0';) {
        assert_true(strlen(line) <= 99);
        assert_memory_equal(line, "test: ", 6);
        for (const char *w = line + 6; (w = strstr(w, "wwwwww")) != NULL; w += 6)
            words++;
    }
    free(rest);
    assert_int_equal(words, 900 / 7); /* no word was cut */
    /* Without a space, and longer than the buffer: cut, never endless. */
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    rest = strdup(logged(text));
    for (char *next = rest; (line = strsep(&next, "\n")) != NULL;)
        assert_true(strlen(line) <= 99);
    free(rest);
}

TEST(test_secret)
{
    static const size_t sizes[] = {0, 1, 32, 4095, 4096, 4097, 100000};
    struct secret a, b;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(secret_alloc(&a, sizes[i], &err), MU_OK);
        assert_int_equal(a.len, sizes[i]);
        assert_true(a.mapped > a.len); /* room for a zero byte */
        assert_true(bytes_all_zero((struct bytes){a.data, a.mapped}));
        memset(a.data, 0xff, a.mapped);
        secret_free(&a);
        assert_null(a.data);
        secret_free(&a);
    }
    assert_int_equal(secret_random(&a, 32, &err), MU_OK);
    assert_int_equal(secret_random(&b, 32, &err), MU_OK);
    assert_false(bytes_equal(secret_view(&a), secret_view(&b)));
    secret_free(&a);
    secret_free(&b);
    assert_int_equal(secret_alloc(&a, SIZE_MAX, &err), MU_INTERNAL);
}

TEST(test_secret_is_not_inherited)
{
    struct secret secret;
    int status = 0;
    pid_t child;

    assert_int_equal(secret_random(&secret, 32, &err), MU_OK);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(bytes_all_zero(secret_view(&secret)) ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_false(bytes_all_zero(secret_view(&secret)));
    secret_free(&secret);
}

TEST(test_wiping_memory)
{
    char *memory = strdup("0123456789");

    assert_string_equal(memory, "0123456789");
    memory = wiping_realloc(memory, 10000);
    assert_string_equal(memory, "0123456789");
    memory = wiping_realloc(memory, 4);
    assert_memory_equal(memory, "0123", 4);
    assert_null(wiping_realloc(memory, 0));
    memory = wiping_realloc(NULL, 8);
    assert_non_null(memory);
    wiping_free(memory);
    wiping_free(NULL);
}

TEST(test_file_read)
{
    struct buffer b = {0};
    const char *path = temp_path("read");
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    for (unsigned i = 0; i < 10000; i++)
        (void)fputc((int)(i % 251), file);
    (void)fclose(file);
    assert_int_equal(file_read(path, 10000, &b, &err), MU_OK);
    assert_int_equal(b.len, 10000);
    assert_int_equal(b.data[9999], 9999 % 251);
    assert_int_equal(b.data[10000], 0);
    buffer_free(&b);
    assert_int_equal(file_read(path, 9999, &b, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "larger than 9999 bytes"));
    assert_null(b.data);
    assert_int_equal(file_read("/dev/null", 0, &b, &err), MU_OK);
    assert_int_equal(b.len, 0);
    buffer_free(&b);
    assert_int_equal(file_read("/dev/zero", 100000, &b, &err), MU_CONFIG);
    assert_int_equal(file_read(temp_path("."), 100, &b, &err), MU_CONFIG);
    assert_int_equal(file_read(temp_path("none"), 100, &b, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "none: cannot open: No such file"));
    /* No size is told in advance there. */
    assert_int_equal(file_read("/proc/self/status", 100000, &b, &err), MU_OK);
    assert_true(b.len > 100);
    buffer_free(&b);
}

static size_t entries(void)
{
    char command[160];
    FILE *ls;
    size_t count = 0;

    (void)snprintf(command, sizeof(command), "ls -A %s", temp_path("."));
    ls = popen(command, "r");
    assert_non_null(ls);
    for (int c; (c = fgetc(ls)) != EOF;)
        count += c == '\n';
    (void)pclose(ls);
    return count;
}

TEST(test_file_write)
{
    const struct bytes one = {(const uint8_t *)"one", 3}, two = {(const uint8_t *)"zwei", 4};
    const char *path = temp_path("write");
    struct buffer b = {0};
    struct stat st;
    size_t before = entries();

    (void)umask(077);
    assert_int_equal(file_write(path, one, 0644, &err), MU_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(file_write(path, two, 0600, &err), MU_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(file_read(path, 10, &b, &err), MU_OK);
    assert_true(bytes_equal(buffer_view(&b), two));
    buffer_free(&b);
    assert_int_equal(entries(), before + 1);
    assert_int_equal(file_write(temp_path("no/file"), one, 0600, &err), MU_CONFIG);
    assert_int_equal(file_write(temp_path("."), one, 0600, &err), MU_CONFIG);
    assert_int_equal(entries(), before + 1);
}

TEST(test_file_write_leaves_devices_alone)
{
    const struct bytes one = {(const uint8_t *)"one", 3};
    const char *path = temp_path("pipe");
    struct stat st;

    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(file_write(path, one, 0600, &err), MU_OK);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    assert_int_equal(file_write("/dev/full", one, 0600, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "No space left"));
}
