/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/secret.h"

static const int stopping[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
static const int crashing[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};

static atomic_bool stop;

atomic_bool *signals_stop(void)
{
    return &stop;
}

static void on_stop(int number)
{
    (void)number;
    atomic_store(&stop, true);
}

/* "system call N is not allowed", without stdio: a signal handler. */
static void name_call(int call)
{
    char text[] = "measured-unlock: system call ..... is not allowed\n";
    char *digit = strrchr(text, '.');

    for (; *digit == '.'; digit--, call /= 10)
        *digit = " 0123456789"[call > 0 ? 1 + call % 10 : 0];
    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
        return;
}

/* SA_RESETHAND: what follows has the default effect. A faulting instruction is met again, abort()
 * raises again; a call that was not allowed would only be skipped. */
static void on_crash(int number, siginfo_t *info, void *context)
{
    (void)context;
    secret_wipe_all();
    if (number != SIGSYS)
        return;
    name_call(info->si_syscall);
    (void)raise(SIGSYS);
}

static enum mu_status handle(const int *signals, size_t count, const struct sigaction *action,
                             struct mu_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (sigaction(signals[i], action, NULL) != 0)
            return mu_fail(err, MU_INTERNAL, "sigaction: %s", strerror(errno));
    }
    return MU_OK;
}

enum mu_status signals_install(struct mu_error *err)
{
    static char stack[16384]; /* a stack that overflowed cannot serve its own handler */
    const stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    const struct sigaction stopped = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    const struct sigaction crashed = {.sa_sigaction = on_crash,
                                      .sa_flags = SA_SIGINFO | SA_ONSTACK | (int)SA_RESETHAND};
    const struct sigaction ignored = {.sa_handler = SIG_IGN};

    if (sigaltstack(&alternate, NULL) != 0)
        return mu_fail(err, MU_INTERNAL, "sigaltstack: %s", strerror(errno));
    MU_TRY(handle(stopping, MU_COUNT(stopping), &stopped, err));
    MU_TRY(handle((const int[]){SIGPIPE}, 1, &ignored, err));
    return handle(crashing, MU_COUNT(crashing), &crashed, err);
}
