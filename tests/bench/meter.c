/* SPDX-License-Identifier: GPL-2.0-or-later */
/* meter OUT PROGRAM ARG...: runs a program, and writes into OUT what it and all its children took.
 * Not os.wait4() in Python: the kernel counts the memory of whoever forked into ru_maxrss of a
 * program, and Python itself is larger than what is measured here. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The clock of report.json. */
static int64_t now_us(void)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static int64_t micro(struct timeval tv)
{
    return tv.tv_sec * INT64_C(1000000) + tv.tv_usec;
}

int main(int argc, char **argv)
{
    struct rusage used;
    int64_t start, end;
    int status;
    pid_t pid;
    FILE *out;

    if (argc < 3 || (out = fopen(argv[1], "we")) == NULL) {
        (void)fputs("usage: meter OUT PROGRAM ARG...\n", stderr);
        return EXIT_FAILURE;
    }
    start = now_us();
    pid = fork();
    if (pid == 0) {
        (void)execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &used) != pid) {
        perror("meter");
        return EXIT_FAILURE;
    }
    end = now_us();
    (void)fprintf(out,
                  "{\"status\": %d, \"start_us\": %" PRId64 ", \"end_us\": %" PRId64
                  ", \"cpu_us\": %" PRId64 ", \"rss_kib\": %ld}\n",
                  WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), start, end,
                  micro(used.ru_utime) + micro(used.ru_stime), used.ru_maxrss);
    return fclose(out) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
