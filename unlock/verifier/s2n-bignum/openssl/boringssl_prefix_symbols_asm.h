/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The headers beside this folder ask for it; no symbol is renamed. */
