/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <ftw.h>

#include "base/file.h"
#include "test.h"

#define TESTS_MAX 64
#define PATHS_MAX 16
#define DATA_MAX 1048576

struct mu_error err;
static struct CMUnitTest tests[TESTS_MAX];
static size_t count;
static char folder[] = "/dev/shm/mu-test-XXXXXX";
static char paths[PATHS_MAX][96];

static int begin(void **state)
{
    (void)state;
    err = (struct mu_error){0};
    if (before_each != NULL)
        before_each();
    return 0;
}

static int end(void **state)
{
    (void)state;
    if (after_each != NULL)
        after_each();
    return 0;
}

static int begin_all(void **state)
{
    (void)state;
    if (before_all != NULL)
        before_all();
    return 0;
}

static int end_all(void **state)
{
    (void)state;
    if (after_all != NULL)
        after_all();
    return 0;
}

void test_add(const char *name, CMUnitTestFunction run)
{
    if (count == TESTS_MAX)
        abort();
    tests[count++] = (struct CMUnitTest){name, run, begin, end, NULL};
}

const char *temp_path(const char *name)
{
    size_t i = 0;

    if (paths[0][0] == '\0' && mkdtemp(folder) == NULL)
        fail_msg("%s: %s", folder, strerror(errno));
    for (; i < PATHS_MAX && paths[i][0] != '\0'; i++) {
        if (strcmp(paths[i] + sizeof(folder), name) == 0)
            return paths[i];
    }
    assert_in_range(i, 0, PATHS_MAX - 1);
    (void)snprintf(paths[i], sizeof(paths[i]), "%s/%s", folder, name);
    return paths[i];
}

struct buffer data_load(const char *name)
{
    struct buffer content = {0};
    char path[512];

    (void)snprintf(path, sizeof(path), "tests/data/%s", name);
    if (file_read(path, DATA_MAX, &content, &err) != MU_OK)
        fail_msg("%s", err.text);
    return content;
}

bool vector_find(const char *name, struct buffer *ret)
{
    const char *vectors = getenv("MU_VECTORS");
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s", vectors ? vectors : "../shared/vectors", name);
    if (file_read(path, DATA_MAX, ret, &err) == MU_OK)
        return true;
    print_message("# without it: %s\n", err.text);
    return false;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

int main(void)
{
    int failed;

    (void)setenv("TSS2_LOG", "all+NONE", 0);
    failed =
        _cmocka_run_group_tests(program_invocation_short_name, tests, count, begin_all, end_all);
    if (paths[0][0] != '\0' && nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0)
        return 99;
    return failed;
}
