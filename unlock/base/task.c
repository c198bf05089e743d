/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/task.h"

enum mu_status task_start(struct task *task, void *(*run)(void *), void *argument,
                          struct mu_error *err)
{
    if (pthread_create(&task->thread, NULL, run, argument) != 0)
        return mu_fail(err, MU_INTERNAL, "cannot start a thread");
    task->running = true;
    return MU_OK;
}

enum mu_status task_wait(struct task *task, struct mu_error *err)
{
    if (task->running)
        pthread_join(task->thread, NULL);
    task->running = false;
    if (task->status != MU_OK)
        *err = task->error;
    return task->status;
}
