/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_TASK_H
#define MU_BASE_TASK_H

#include <pthread.h>
#include <stdbool.h>

#include "base/error.h"

/* Work on a thread of its own. The thread leaves its outcome here; waiting for the task joins the
 * thread. */
struct task {
    pthread_t thread;
    bool running;
    enum mu_status status;
    struct mu_error error;
};

enum mu_status task_start(struct task *task, void *(*run)(void *), void *argument,
                          struct mu_error *err) MU_MUST_CHECK MU_NONNULL_AT(1, 2, 4);
/* Returns the task's own outcome, in later calls as well; MU_OK if the task was never started. */
enum mu_status task_wait(struct task *task, struct mu_error *err) MU_NONNULL;

#endif
