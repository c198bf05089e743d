/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_NAMES_H
#define MU_BASE_NAMES_H

/*
 * Names of hosts, services and users are looked up in files and by DNS, whatever nsswitch.conf
 * says: a static glibc must not load the NSS modules that it may name. Before the first look-up,
 * and before there is a second thread.
 */
void names_without_modules(void);

#endif
