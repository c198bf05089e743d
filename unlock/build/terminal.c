/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/file.h"

static void put(int fd, const char *text)
{
    ssize_t n = write(fd, text, strlen(text));

    (void)n;
}

/* The terminal is in canonical mode: one read returns one line. */
static enum mu_status read_line(int fd, struct secret *line, struct mu_error *err)
{
    ssize_t n;

    do
        n = read(fd, line->data, line->len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return mu_fail(err, MU_CONFIG, "terminal: %s", strerror(errno));
    if (n > 0 && line->data[n - 1] == '\n')
        n--;
    else if ((size_t)n == line->len)
        return mu_fail(err, MU_USAGE, "more than %d bytes were typed", TERMINAL_SECRET_MAX);
    if (n == 0)
        return mu_fail(err, MU_USAGE, "nothing was typed");
    line->len = (size_t)n;
    return MU_OK;
}

enum mu_status terminal_ask(const char *prompt, struct secret *ret, struct mu_error *err)
{
    MU_CLEANUP(fd_close) int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    MU_CLEANUP(secret_free) struct secret line = {0};
    struct termios before;
    struct termios quiet;
    enum mu_status status;

    if (fd < 0 || tcgetattr(fd, &before) != 0)
        return mu_fail(err, MU_CONFIG, "there is no terminal to ask on: %s", strerror(errno));
    MU_TRY(secret_alloc(&line, TERMINAL_SECRET_MAX + 1, err));
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    if (tcsetattr(fd, TCSAFLUSH, &quiet) != 0)
        return mu_fail(err, MU_CONFIG, "the terminal's echo cannot be switched off: %s",
                       strerror(errno));
    put(fd, prompt);
    status = read_line(fd, &line, err);
    (void)tcsetattr(fd, TCSAFLUSH, &before);
    put(fd, "\n");
    if (status != MU_OK)
        return status;
    *ret = MU_TAKE(line);
    return MU_OK;
}
