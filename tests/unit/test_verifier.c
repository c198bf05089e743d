/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "verifier/challenge.h"
#include "verifier/golden.h"
#include "verifier/limiter.h"
#include "verifier/metrics.h"
#include "verifier/patience.h"

#define NOW UINT64_C(1770000000000)

/* ---- challenges ---- */

static struct challenge_keys keys_of(size_t count)
{
    struct challenge_keys keys = {.count = count};
    struct mu_error err = {0};

    for (size_t i = 0; i < count; i++)
        assert_int_equal(secret_random(&keys.key[i], CHALLENGE_KEY_SIZE, &err), MU_OK);
    return keys;
}

static enum mu_status check(const struct challenge_keys *keys, uint64_t now, const uint8_t *nonce,
                            size_t len, const char *why)
{
    struct mu_error err = {0};
    enum mu_status status = challenge_check(keys, now, (struct bytes){nonce, len}, &err);

    if (status != MU_OK)
        assert_non_null(strstr(err.text, why));
    return status;
}

static void test_challenge_until_it_expires(void **state)
{
    MU_CLEANUP(challenge_keys_free) struct challenge_keys keys = keys_of(1);
    uint8_t nonce[CHALLENGE_SIZE];
    struct mu_error err = {0};

    (void)state;
    assert_int_equal(challenge_make(&keys, NOW, nonce, &err), MU_OK);
    assert_int_equal(check(&keys, NOW, nonce, sizeof(nonce), ""), MU_OK);
    assert_int_equal(check(&keys, NOW + 1, nonce, sizeof(nonce), "expired 0.001 s ago"), MU_REFUSE);
    assert_int_equal(check(&keys, NOW, nonce, 0, "no nonce"), MU_REFUSE);
    assert_int_equal(check(&keys, NOW, NULL, 0, "no nonce"), MU_REFUSE);
}

static void test_no_bit_of_a_challenge_may_change(void **state)
{
    MU_CLEANUP(challenge_keys_free) struct challenge_keys keys = keys_of(2);
    uint8_t nonce[CHALLENGE_SIZE + 1] = {0};
    struct mu_error err = {0};

    (void)state;
    assert_int_equal(challenge_make(&keys, NOW, nonce, &err), MU_OK);
    for (size_t bit = 0; bit < 8 * (size_t)CHALLENGE_SIZE; bit++) {
        nonce[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(check(&keys, NOW, nonce, CHALLENGE_SIZE, "not of this verifier"),
                         MU_REFUSE);
        nonce[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t len = 1; len <= sizeof(nonce); len++)
        assert_int_equal(check(&keys, NOW, nonce, len, "not of this verifier"),
                         len == CHALLENGE_SIZE ? MU_OK : MU_REFUSE);
}

/* The first makes, all verify. */
static void test_challenge_keys_rotate(void **state)
{
    MU_CLEANUP(challenge_keys_free) struct challenge_keys keys = keys_of(2);
    struct challenge_keys turned = {.key = {keys.key[1], keys.key[0]}, .count = 2};
    struct challenge_keys second = {.key = {keys.key[1]}, .count = 1};
    uint8_t nonce[CHALLENGE_SIZE];
    struct mu_error err = {0};

    (void)state;
    assert_int_equal(challenge_make(&keys, NOW, nonce, &err), MU_OK);
    assert_int_equal(check(&turned, NOW, nonce, sizeof(nonce), ""), MU_OK);
    assert_int_equal(check(&second, NOW, nonce, sizeof(nonce), "not of"), MU_REFUSE);
    assert_int_equal(challenge_make(&turned, NOW, nonce, &err), MU_OK);
    assert_int_equal(check(&second, NOW, nonce, sizeof(nonce), ""), MU_OK);
}

/* ---- baselines ---- */

static struct pcr_values values(uint32_t mask, uint8_t pcr4, uint8_t fence)
{
    struct pcr_values out = {.bank = HASH_SHA384, .mask = mask};

    out.value[4].bytes[0] = pcr4;
    out.value[15].bytes[47] = fence;
    return out;
}

#define GOLDEN_MASK (PCR_BIT(4) | PCR_BIT(12))
#define ALL 0xffffffu

static struct golden_set *some_baselines(void)
{
    struct golden_set *set = calloc(1, sizeof(*set));

    assert_non_null(set);
    *set = (struct golden_set){
        .fence_pcr = 15,
        .count = 4,
        .item = {{"old", "1", STATE_BOOT, values(GOLDEN_MASK, 1, 0)},
                 {"new", "2", STATE_BOOT, values(GOLDEN_MASK, 2, 0)},
                 {"up", "2", STATE_RUNNING, values(GOLDEN_MASK, 2, 0)},
                 {"named", "2", STATE_RUNNING, values(GOLDEN_MASK | PCR_BIT(15), 3, 7)}}};
    return set;
}

static void test_baselines(void **state)
{
    static const struct {
        uint8_t pcr4, fence;
        uint32_t mask;
        const char *name, *why; /* why NULL: it matches */
    } cases[] = {
        {1, 0, ALL, "old", NULL},
        {2, 0, ALL, "new", NULL},
        {2, 1, ALL, "up", NULL},
        {3, 7, ALL, "named", NULL},
        {1, 1, ALL, "old", "closest is old (boot): PCR 15, the fence, is closed already"},
        {3, 8, ALL, "up", "closest is up (running): PCR 4: expected 02"},
        {3, 0, ALL, "old", "closest is old (boot): PCR 4: expected 01"},
        {2, 0, ALL & ~PCR_BIT(15), "new", "PCR 15, the fence, is not in the document"},
        {2, 0, ALL & ~PCR_BIT(12), "new", "PCR 12: expected 0000000000000000..., found nothing"},
    };
    struct golden_set *set = some_baselines();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pcr_values found = values(cases[i].mask, cases[i].pcr4, cases[i].fence);
        const struct golden *golden = NULL;
        struct mu_error err = {0};
        enum mu_status status = golden_match(set, &found, &golden, &err);

        assert_int_equal(status, cases[i].why == NULL ? MU_OK : MU_REFUSE);
        assert_string_equal(golden->name, cases[i].name);
        if (cases[i].why != NULL && strstr(err.text, cases[i].why) == NULL)
            fail_msg("'%s' does not say '%s'", err.text, cases[i].why);
    }
    free(set);
}

/* ---- limits ---- */

static struct sockaddr_storage address_of(const char *text)
{
    struct sockaddr_storage out = {0};
    struct sockaddr_in6 *six = (void *)&out;
    struct sockaddr_in *four = (void *)&out;
    bool is_six = strchr(text, ':') != NULL;

    out.ss_family = is_six ? AF_INET6 : AF_INET;
    assert_int_equal(
        inet_pton(out.ss_family, text, is_six ? (void *)&six->sin6_addr : (void *)&four->sin_addr),
        1);
    return out;
}

static bool take(struct limiter *limiter, const char *text, uint64_t now_us)
{
    struct sockaddr_storage address = address_of(text);

    return limiter_take(limiter, (struct sockaddr *)&address, 2, 3, now_us);
}

static void test_limiter(void **state)
{
    struct limiter *limiter = malloc(sizeof(*limiter));

    (void)state;
    assert_non_null(limiter);
    limiter_init(limiter);
    for (size_t i = 0; i < 3; i++)
        assert_true(take(limiter, "10.0.0.1", 1000000));
    assert_false(take(limiter, "10.0.0.1", 1000000));
    assert_true(take(limiter, "10.0.0.2", 1000000));
    assert_false(take(limiter, "::ffff:10.0.0.1", 1400000)); /* two a second: 0.8 of one */
    assert_true(take(limiter, "10.0.0.1", 1600000));
    assert_false(take(limiter, "10.0.0.1", 1600000));
    for (size_t i = 0; i < 3; i++) /* no more than the burst is saved up */
        assert_true(take(limiter, "10.0.0.1", 100000000));
    assert_false(take(limiter, "10.0.0.1", 100000000));
    for (size_t i = 0; i < 3; i++)
        assert_true(take(limiter, "2001:db8::1", 1000000));
    assert_false(take(limiter, "2001:db8::2", 1000000)); /* the same /64 */
    assert_true(take(limiter, "2001:db8:0:1::1", 1000000));
    free(limiter);
}

static void test_patience(void **state)
{
    struct patience patience;
    struct patient *patient[3];
    int pair[2];
    char byte;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    patience_init(&patience);
    patient[0] = patience_begin(&patience, -1, 10);
    patient[1] = patience_begin(&patience, pair[0], 20);
    patient[2] = patience_begin(&patience, -1, 30);
    assert_int_equal(patience_enforce(&patience, 10), 0);
    patience_end(&patience, patient[0]);
    patience_extend(&patience, patient[2], 100);
    assert_int_equal(patience_enforce(&patience, 31), 1);
    assert_int_equal(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0); /* its end */
    assert_int_equal(patience_enforce(&patience, 32), 0);       /* once is enough */
    patience_end(&patience, patient[1]);
    patience_end(&patience, patient[2]);
    assert_null(patience.first);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static void test_metrics(void **state)
{
    const struct metrics_state now = {4102444800, true, 3};
    MU_CLEANUP(string_free) char *text = NULL;
    struct metrics metrics;
    struct mu_error err = {0};

    (void)state;
    metrics_init(&metrics);
    metrics_count_request(&metrics, "/a", 200);
    metrics_count_request(&metrics, "/a", 200);
    metrics_count_request(&metrics, "/a", 404);
    metrics_count_attestation(&metrics, "ok", "web", 1000);
    metrics_count_attestation(&metrics, "ok", "web", 3000);
    metrics_count_attestation(&metrics, "refused", "", 9000000);
    assert_int_equal(metrics_text(&metrics, &now, &text, &err), MU_OK);
    for (size_t i = 0; i < 8; i++) {
        static const char *const lines[] = {
            "requests_total{path=\"/a\",status=\"200\"} 2\n",
            "requests_total{path=\"/a\",status=\"404\"} 1\n",
            "attestations_total{result=\"ok\",baseline=\"web\"} 2\n",
            "attestations_total{result=\"refused\",baseline=\"\"} 1\n",
            "seconds_bucket{le=\"0.001\"} 1\n",
            "seconds_bucket{le=\"5\"} 2\n",
            "seconds_bucket{le=\"+Inf\"} 3\n",
            "expiry_seconds 4102444800\n",
        };

        if (strstr(text, lines[i]) == NULL)
            fail_msg("no %s in %s", lines[i], text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_challenge_until_it_expires),
        cmocka_unit_test(test_no_bit_of_a_challenge_may_change),
        cmocka_unit_test(test_challenge_keys_rotate),
        cmocka_unit_test(test_baselines),
        cmocka_unit_test(test_limiter),
        cmocka_unit_test(test_patience),
        cmocka_unit_test(test_metrics),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
