/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_TASK_H
#define MU_RELEASE_TASK_H

#include <pthread.h>
#include <stdbool.h>

#include "base/error.h"

/* Work on a thread of its own, which leaves its outcome here; waiting for it is joining. */
struct task {
    pthread_t thread;
    bool running;
    enum mu_status status;
    struct mu_error error;
};

enum mu_status task_start(struct task *task, void *(*run)(void *), void *argument,
                          struct mu_error *err) MU_MUST_CHECK;
/* The task's own failure, also when it is asked for again; MU_OK for one that was never started. */
enum mu_status task_wait(struct task *task, struct mu_error *err);

#endif
