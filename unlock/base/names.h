/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_NAMES_H
#define MU_BASE_NAMES_H

/* Names of hosts, services and users are looked up in files and by DNS, whatever nsswitch.conf
 * says: a static glibc must not load the NSS modules that this file may name. Call this before the
 * first look-up, and before a second thread starts. */
void names_without_modules(void);

#endif
