/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A line of the table: how a call of `symbol` fails. */
struct row {
    int symbol;
    long value;
    int error;
    int after;
    const char *classes;
    const char *name;
};

/* A line of FAULT_LOG. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Counts what is no call of the program: by name, told apart by `key`. How it fails, or NULL. */
const struct row *count_named(const char *name, uint64_t key, const char *text);
/* Set while a library's allocation comes by, which was counted there. */
extern _Thread_local bool inside;

size_t slurp(const char *path, uint8_t *to, size_t cap);
void read_secrets(void);
/* Logs every secret in that memory; `who` is about to give it back. */
void look(const void *memory, size_t size, const char *how, const void *who);
/* All that can be written to and was, when everything should be over. */
void look_everywhere(void);

/* In place of a library's function; `generate` finds these. */
#define REPLACE(type, name, args)                                                                  \
    type replace_##name args;                                                                      \
    type replace_##name args

#endif
