/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_DEPS_LIBUDEV_H
#define MU_DEPS_LIBUDEV_H

/* The part of libudev that libdevmapper calls; stub-udev.c implements it. */

struct udev;
struct udev_queue;

struct udev *udev_new(void);
struct udev *udev_unref(struct udev *udev);
struct udev_queue *udev_queue_new(struct udev *udev);
struct udev_queue *udev_queue_unref(struct udev_queue *queue);
int udev_queue_get_udev_is_active(struct udev_queue *queue);

#endif
