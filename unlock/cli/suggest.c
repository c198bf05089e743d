/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/suggest.h"

#include <ctype.h>
#include <string.h>

#define WORD_MAX 40
#define NONE WORD_MAX

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static int lower(char c)
{
    return tolower((unsigned char)c);
}

/* Optimal string alignment: Levenshtein's distance, and neighbours that changed places count once.
 */
static unsigned distance(const char *a, const char *b)
{
    unsigned cost[WORD_MAX + 1][WORD_MAX + 1];
    size_t rows = strlen(a), columns = strlen(b);

    if (rows > WORD_MAX || columns > WORD_MAX)
        return NONE;
    for (size_t i = 0; i <= rows; i++)
        cost[i][0] = (unsigned)i;
    for (size_t j = 0; j <= columns; j++)
        cost[0][j] = (unsigned)j;
    for (size_t i = 1; i <= rows; i++)
        for (size_t j = 1; j <= columns; j++) {
            unsigned changed = lower(a[i - 1]) != lower(b[j - 1]);

            cost[i][j] =
                least(cost[i - 1][j - 1] + changed, 1 + least(cost[i - 1][j], cost[i][j - 1]));
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1]))
                cost[i][j] = least(cost[i][j], cost[i - 2][j - 2] + 1);
        }
    return cost[rows][columns];
}

const char *cli_suggest(const char *word, const char *const *names, size_t count)
{
    unsigned best = strlen(word) < 5 ? 2 : 3;
    const char *found = NULL;

    for (size_t i = 0; i < count; i++) {
        unsigned d = distance(word, names[i]);

        if (d < best) {
            best = d;
            found = names[i];
        }
    }
    return found;
}
