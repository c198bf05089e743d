#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# dracut runs this before its emergency shell, and for every rd.break.
/usr/lib/measured-unlock/refuse "dracut gave up: ${1:-${action:-boot} failed, or rd.break}"
