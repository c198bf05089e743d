/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Linked into a mu-verifier for tests/soak, before libc: its wall clock is as many seconds off as
 * the first bytes of the file of SOAK_CLOCK say, a number of the machine, at any moment. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t nothing;
static const volatile int64_t *off_by = &nothing; /* libraries may ask before look() */

__attribute__((constructor)) static void look(void)
{
    int fd = open(getenv("SOAK_CLOCK"), O_RDONLY | O_CLOEXEC);

    off_by = mmap(NULL, sizeof(*off_by), PROT_READ, MAP_SHARED, fd, 0);
    if (fd < 0 || off_by == MAP_FAILED)
        abort();
    (void)close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int done = (int)syscall(SYS_clock_gettime, clock, now);

    if (done == 0 && clock == CLOCK_REALTIME)
        now->tv_sec += *off_by;
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec at;

    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &at);
    *now = (struct timeval){at.tv_sec, at.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *ret)
{
    struct timespec at;

    (void)clock_gettime(CLOCK_REALTIME, &at);
    if (ret != NULL)
        *ret = at.tv_sec;
    return at.tv_sec;
}
