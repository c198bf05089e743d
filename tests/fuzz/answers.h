/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TESTS_FUZZ_ANSWERS_H
#define MU_TESTS_FUZZ_ANSWERS_H

#include "net/http.h"

/* HTTP answers out of the input, in place of http_perform() (ld --wrap).
 *   status: be16, flags: u8, length: be16, body
 * flags: bit 0 another content type, bit 1 none; bits 2 to 4 set the server's clock: 0 this
 * machine's, 1 none, else hours ahead or behind; bits 5 to 7: 1 no answer, 2 a refusal, 3 a bad CA
 * file. Where the input ends there is no answer and no time left. */
void answers_begin(struct reader *input);
/* How many requests were sent. */
unsigned answers_requests(void);

enum mu_status __wrap_http_perform(struct http *http, const struct http_request *request,
                                   struct http_response *ret, struct mu_error *err);

#endif
