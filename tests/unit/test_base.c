/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/crypto.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"

static struct mu_error err;
static char folder[] = "/tmp/mu-test-base-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void test_clock(void **state)
{
    uint64_t start = now_us();
    struct deadline past = {0};
    struct deadline soon = {start + 30000, NULL};
    struct deadline far = deadline_in(3600);

    (void)state;
    assert_true(deadline_passed(past));
    assert_int_equal(deadline_left_ms(past, 100), 0);
    assert_false(deadline_passed(far));
    assert_int_equal(deadline_left_ms(far, 100), 100);
    assert_in_range(deadline_left_ms(far, UINT32_MAX), 3599000, 3600000);
    assert_true(pause_ms(5, soon));
    assert_true(now_us() - start >= 5000);
    assert_false(pause_ms(10000, soon)); /* until the deadline, not longer */
    assert_in_range(now_us() - start, 30000, 2000000);
    assert_false(pause_ms(1, past));
}

static void test_backoff(void **state)
{
    struct deadline far = deadline_in(3600);
    uint64_t start = now_us();

    (void)state;
    for (unsigned attempt = 0; attempt < 4; attempt++)
        assert_true(backoff_sleep(attempt, 4, 5000, far));
    /* 4 + 8 + 16 + 32 ms; jitter takes off at most half */
    assert_in_range(now_us() - start, 30000 - 4000, 2000000);
    start = now_us();
    assert_false(backoff_sleep(4000000000u, 1000, 5000, (struct deadline){start + 20000, NULL}));
    assert_in_range(now_us() - start, 20000, 2000000);
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

static void test_log(void **state)
{
    (void)state;
    log_init("test");
    assert_string_equal(logged("PCR 4 differs"), "test: PCR 4 differs\n");
    assert_string_equal(logged(""), "test: \n");
    assert_string_equal(logged("a\nb\x1b[2J\xc3\xa9\x7f"),
                        "test: a\\x0ab\\x1b[2J\\xc3\\xa9\\x7f\n");
}

static void test_log_folds(void **state)
{
    char text[3000];
    char *line, *rest;
    size_t words = 0;

    (void)state;
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

static void test_secret(void **state)
{
    static const size_t sizes[] = {0, 1, 32, 4095, 4096, 4097, 100000};
    struct secret a, b;

    (void)state;
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

static void test_secret_is_not_inherited(void **state)
{
    struct secret secret;
    int status = 0;
    pid_t child;

    (void)state;
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

static void test_wiping_memory(void **state)
{
    char *memory = wiping_strdup("0123456789");

    (void)state;
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
    memory = wiping_calloc(3, 5);
    assert_true(bytes_all_zero((struct bytes){(uint8_t *)memory, 15}));
    wiping_free(memory);
    assert_null(wiping_calloc(SIZE_MAX, 2));
}

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

static void test_harden(void **state)
{
    (void)state;
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

static void test_file_read(void **state)
{
    struct buffer b = {0};
    const char *path = in_folder("read");
    FILE *file = fopen(path, "w");

    (void)state;
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
    assert_int_equal(file_read(folder, 100, &b, &err), MU_CONFIG);
    assert_int_equal(file_read(in_folder("none"), 100, &b, &err), MU_CONFIG);
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

    (void)snprintf(command, sizeof(command), "ls -A %s", folder);
    ls = popen(command, "r");
    assert_non_null(ls);
    for (int c; (c = fgetc(ls)) != EOF;)
        count += c == '\n';
    (void)pclose(ls);
    return count;
}

static void test_file_write(void **state)
{
    const struct bytes one = {(const uint8_t *)"one", 3}, two = {(const uint8_t *)"zwei", 4};
    const char *path = in_folder("write");
    struct buffer b = {0};
    struct stat st;
    size_t before = entries();

    (void)state;
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
    assert_int_equal(file_write(in_folder("no/file"), one, 0600, &err), MU_CONFIG);
    assert_int_equal(file_write(folder, one, 0600, &err), MU_CONFIG);
    assert_int_equal(entries(), before + 1);
}

static void test_file_write_leaves_devices_alone(void **state)
{
    const struct bytes one = {(const uint8_t *)"one", 3};
    const char *path = in_folder("pipe");
    struct stat st;

    (void)state;
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(file_write(path, one, 0600, &err), MU_OK);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    assert_int_equal(file_write("/dev/full", one, 0600, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "No space left"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_harden), /* first: OpenSSL has not allocated anything yet */
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_log_folds),
        cmocka_unit_test(test_secret),
        cmocka_unit_test(test_secret_is_not_inherited),
        cmocka_unit_test(test_wiping_memory),
        cmocka_unit_test(test_file_read),
        cmocka_unit_test(test_file_write),
        cmocka_unit_test(test_file_write_leaves_devices_alone),
    };
    char command[64];
    int failed;

    if (mkdtemp(folder) == NULL)
        return 1;
    failed = cmocka_run_group_tests_name("base", tests, NULL, NULL);
    (void)snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command) == 0 ? failed : 1;
}
