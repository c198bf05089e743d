/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include "libudev.h"

/*
 * libdevmapper asks libudev one question: is udevd running, so that it will answer the cookie of an
 * activation? It then waits for that answer without a limit. The answer comes from dmsetup, called
 * by 95-dm-notify.rules: where either is missing, "no" is the only safe reply.
 */

static char handle;

static bool any_exists(const char *const *paths, int mode)
{
    for (; *paths != NULL; paths++) {
        if (access(*paths, mode) == 0)
            return true;
    }
    return false;
}

struct udev *udev_new(void)
{
    return (struct udev *)&handle;
}

struct udev *udev_unref(struct udev *udev)
{
    (void)udev;
    return NULL;
}

struct udev_queue *udev_queue_new(struct udev *udev)
{
    (void)udev;
    return (struct udev_queue *)&handle;
}

struct udev_queue *udev_queue_unref(struct udev_queue *queue)
{
    (void)queue;
    return NULL;
}

int udev_queue_get_udev_is_active(struct udev_queue *queue)
{
    static const char *const control[] = {"/run/udev/control", NULL};
    static const char *const rules[] = {
        "/etc/udev/rules.d/95-dm-notify.rules",
        "/run/udev/rules.d/95-dm-notify.rules",
        "/usr/lib/udev/rules.d/95-dm-notify.rules",
        "/lib/udev/rules.d/95-dm-notify.rules",
        NULL,
    };
    static const char *const dmsetup[] = {"/usr/sbin/dmsetup", "/sbin/dmsetup", "/usr/bin/dmsetup",
                                          "/bin/dmsetup", NULL};

    (void)queue;
    return any_exists(control, F_OK) && any_exists(rules, R_OK) && any_exists(dmsetup, X_OK);
}
