/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "test.h"
#include "verifier/challenge.h"
#include "verifier/metrics.h"
#include "verifier/reference.h"
#include "verifier/senders.h"

#define NOW UINT64_C(1770000000000)

/* ---- challenges ---- */

static struct challenge_keys keys_of(size_t count)
{
    struct challenge_keys keys = {.count = count};

    for (size_t i = 0; i < count; i++)
        assert_int_equal(secret_random(&keys.key[i], CHALLENGE_KEY_SIZE, &err), MU_OK);
    return keys;
}

static enum mu_status check(const struct challenge_keys *keys, uint64_t now, const uint8_t *nonce,
                            size_t len, const char *why)
{
    enum mu_status status = challenge_check(keys, now, (struct bytes){nonce, len}, &err);

    if (status != MU_OK)
        assert_non_null(strstr(err.text, why));
    return status;
}

TEST(test_challenge_until_it_expires)
{
    MU_CLEANUP(challenge_keys_free) struct challenge_keys keys = keys_of(1);
    uint8_t nonce[CHALLENGE_SIZE];

    assert_int_equal(challenge_make(&keys, NOW, nonce, &err), MU_OK);
    assert_int_equal(check(&keys, NOW, nonce, sizeof(nonce), ""), MU_OK);
    assert_int_equal(check(&keys, NOW + 1, nonce, sizeof(nonce), "expired 0.001 s ago"), MU_REFUSE);
    assert_int_equal(check(&keys, NOW, nonce, 0, "no nonce"), MU_REFUSE);
    assert_int_equal(check(&keys, NOW, NULL, 0, "no nonce"), MU_REFUSE);
}

TEST(test_no_bit_of_a_challenge_may_change)
{
    MU_CLEANUP(challenge_keys_free) struct challenge_keys keys = keys_of(2);
    uint8_t nonce[CHALLENGE_SIZE + 1] = {0};

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

/* docs/develop/formats.md; the MAC by Python. */
TEST(test_challenge_vector)
{
    MU_CLEANUP(challenge_keys_free) struct challenge_keys keys = keys_of(1);
    uint8_t nonce[CHALLENGE_SIZE];

    for (uint8_t i = 0; i < CHALLENGE_KEY_SIZE; i++)
        keys.key[0].data[i] = i;
    assert_true(hex_decode("010000019c1c38a400000102030405060708090a0b0c0d0e0f"
                           "48f8a8034031f97d77627e91545584de6b4263140103f27209a3358a3a12f547",
                           nonce, sizeof(nonce)));
    assert_int_equal(check(&keys, NOW, nonce, sizeof(nonce), ""), MU_OK);
    assert_int_equal(check(&keys, NOW + 1, nonce, sizeof(nonce), "expired"), MU_REFUSE);
    keys.key[0].data[0]++;
    assert_int_equal(check(&keys, NOW, nonce, sizeof(nonce), "not of this verifier"), MU_REFUSE);
}

/* The first makes, all verify. */
TEST(test_challenge_keys_rotate)
{
    MU_CLEANUP(challenge_keys_free) struct challenge_keys keys = keys_of(2);
    struct challenge_keys turned = {.key = {keys.key[1], keys.key[0]}, .count = 2};
    struct challenge_keys second = {.key = {keys.key[1]}, .count = 1};
    uint8_t nonce[CHALLENGE_SIZE];

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

static struct reference_values *some_baselines(void)
{
    struct reference_values *set = calloc(1, sizeof(*set));

    assert_non_null(set);
    *set = (struct reference_values){.fence_pcr = 15,
                                     .count = 4,
                                     .item = {{.name = "old",
                                               .version = "1",
                                               .state = STATE_BOOT,
                                               .values = values(GOLDEN_MASK, 1, 0)},
                                              {.name = "new",
                                               .version = "2",
                                               .state = STATE_BOOT,
                                               .values = values(GOLDEN_MASK, 2, 0)},
                                              {.name = "up",
                                               .version = "2",
                                               .state = STATE_RUNNING,
                                               .values = values(GOLDEN_MASK, 2, 0)},
                                              {.name = "named",
                                               .version = "2",
                                               .state = STATE_RUNNING,
                                               .values = values(GOLDEN_MASK | PCR_BIT(15), 3, 7)}}};
    return set;
}

TEST(test_baselines)
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
    struct reference_values *set = some_baselines();

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pcr_values found = values(cases[i].mask, cases[i].pcr4, cases[i].fence);
        const struct reference_value *golden = NULL;
        enum mu_status status = reference_values_match(set, NULL, &found, 1, &golden, &err);

        assert_int_equal(status, cases[i].why == NULL ? MU_OK : MU_REFUSE);
        assert_string_equal(golden->name, cases[i].name);
        if (cases[i].why != NULL && strstr(err.text, cases[i].why) == NULL)
            fail_msg("'%s' does not say '%s'", err.text, cases[i].why);
    }
    free(set);
}

/* What approved images add: an end, a revocation, and files before them. */
TEST(test_approved_images)
{
    static const char revoked[] = "was revoked at noon by ada: CVE";
    const struct reference_value items[] = {
        {.name = "web",
         .version = "1",
         .values = values(GOLDEN_MASK, 5, 0),
         .image = "aa",
         .until_ms = 5000,
         .ends = "web",
         .ends_version = "1"},
        {.name = "web",
         .version = "2",
         .values = values(GOLDEN_MASK, 6, 0),
         .image = "bb",
         .boot_loader = "cc",
         .withdrawn = revoked,
         .ends = "sd-boot",
         .ends_version = "257"},
        {.name = "shadow", .version = "3", .values = values(GOLDEN_MASK, 1, 0), .image = "dd"},
    };
    static const struct {
        uint8_t pcr4;
        uint64_t now_ms;
        const char *name, *why; /* why NULL: it matches */
    } cases[] = {
        {5, 4999, "web", NULL},
        {5, 5000, "web", "the approval of web 1 ended at 1970-01-01T00:00:05.000Z"},
        {6, 1, "web", "sd-boot 257, which started web 2, was revoked at noon by ada: CVE"},
        {1, 1, "old", NULL}, /* a file comes first */
        {9, 4999, "old", "no baseline matches; closest is old"},
    };
    const struct reference_list images = {items, MU_COUNT(items)};
    struct reference_values *set = some_baselines();

    for (size_t i = 0; i < MU_COUNT(cases); i++) {
        struct pcr_values found = values(ALL, cases[i].pcr4, 0);
        const struct reference_value *golden = NULL;
        enum mu_status status =
            reference_values_match(set, &images, &found, cases[i].now_ms, &golden, &err);

        assert_int_equal(status, cases[i].why == NULL ? MU_OK : MU_REFUSE);
        assert_string_equal(golden->name, cases[i].name);
        if (cases[i].why != NULL && strstr(err.text, cases[i].why) == NULL)
            fail_msg("'%s' does not say '%s'", err.text, cases[i].why);
    }
    free(set);
}

TEST(test_nothing_to_compare_with)
{
    static const struct reference_values set = {.fence_pcr = 15};
    static const struct reference_list none = {NULL, 0};
    struct pcr_values found = values(ALL, 1, 0);
    const struct reference_value *golden = NULL;

    assert_int_equal(reference_values_match(&set, &none, &found, 1, &golden, &err), MU_REFUSE);
    assert_string_equal(err.text, "no image is approved");
    assert_string_equal(golden->name, "");
    assert_int_equal(reference_values_match(&set, NULL, &found, 1, &golden, &err), MU_CONFIG);
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
    struct source source;
    struct sockaddr_storage address = address_of(text);

    source = source_of((struct sockaddr *)&address);
    return limiter_take(limiter, &source, 2, 3, now_us);
}

TEST(test_limiter)
{
    struct limiter *limiter = malloc(sizeof(*limiter));

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

static struct connection_entry *begin(struct connections *connections, int fd, const char *from,
                                      uint64_t deadline_us)
{
    struct sockaddr_storage address = address_of(from);

    return connections_begin(connections, fd, (struct sockaddr *)&address, 2, deadline_us);
}

/* True if the other end has been shut down. */
static bool ended(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

TEST(test_slow_connections)
{
    struct connections *connections = calloc(1, sizeof(*connections));
    struct connection_entry *entry[3];
    int pair[2];

    assert_non_null(connections);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    connections_init(connections);
    entry[0] = begin(connections, -1, "10.0.0.1", 10);
    entry[1] = begin(connections, pair[0], "10.0.0.2", 20);
    entry[2] = begin(connections, -1, "10.0.0.1", 30);
    assert_int_equal(connections_enforce(connections, 10), 0);
    connections_end(connections, entry[0]);
    connections_extend(connections, entry[2], 100);
    assert_false(ended(pair[1]));
    assert_int_equal(connections_enforce(connections, 31), 1);
    assert_true(ended(pair[1]));
    connections_extend(connections, entry[1], 40);
    assert_int_equal(connections_enforce(connections, 50), 0); /* once is enough */
    connections_end(connections, entry[1]);
    connections_end(connections, entry[2]);
    for (size_t i = 0; i < CONNECTIONS_SLOTS; i++)
        assert_null(connections->slot[i]);
    free(connections);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

/* What is the third connection of its sender, and what is not. */
TEST(test_connections_of_one_source)
{
    static const struct {
        const char *from;
        bool refused;
    } third[] = {
        {"2001:db8::3", true},      {"2001:db8::ffff:ffff:ffff:ffff", true},
        {"2001:db8:0:1::1", false}, {"::ffff:10.0.0.1", false},
        {"10.0.0.1", false},
    };
    struct connections *connections = calloc(1, sizeof(*connections));
    int pair[2];

    assert_non_null(connections);
    connections_init(connections);
    struct connection_entry *one = begin(connections, -1, "2001:db8::1", 10);
    struct connection_entry *two = begin(connections, -1, "2001:db8::2", 10);
    struct connection_entry *other = begin(connections, -1, "10.0.0.1", 10);
    for (size_t i = 0; i < sizeof(third) / sizeof(third[0]); i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        struct connection_entry *entry = begin(connections, pair[0], third[i].from, 10);
        assert_int_equal(ended(pair[1]), third[i].refused);
        connections_end(connections, entry);
        (void)close(pair[0]);
        (void)close(pair[1]);
    }
    connections_end(connections, one); /* there is room again */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    one = begin(connections, pair[0], "2001:db8::3", 10);
    assert_false(ended(pair[1]));
    connections_end(connections, one);
    connections_end(connections, two);
    connections_end(connections, other);
    free(connections);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

TEST(test_metrics)
{
    const struct metrics_state now = {4102444800, true, 3};
    MU_CLEANUP(string_free) char *text = NULL;
    struct metrics metrics;

    metrics_init(&metrics);
    metrics_count_request(&metrics, "/a", 200);
    metrics_count_request(&metrics, "/a", 200);
    metrics_count_request(&metrics, "/a", 404);
    metrics_count_attestation(&metrics, "ok", "web", "1", 1000);
    metrics_count_attestation(&metrics, "ok", "web", "1", 3000);
    metrics_count_attestation(&metrics, "ok", "web", "a \"2\\", 3000);
    metrics_count_attestation(&metrics, "refused", "", "", 9000000);
    assert_int_equal(metrics_text(&metrics, &now, &text, &err), MU_OK);
    for (size_t i = 0; i < 9; i++) {
        static const char *const lines[] = {
            "requests_total{path=\"/a\",status=\"200\"} 2\n",
            "requests_total{path=\"/a\",status=\"404\"} 1\n",
            "attestations_total{result=\"ok\",baseline=\"web\",version=\"1\"} 2\n",
            "attestations_total{result=\"ok\",baseline=\"web\",version=\"a \\\"2\\\\\"} 1\n",
            "attestations_total{result=\"refused\",baseline=\"\",version=\"\"} 1\n",
            "seconds_bucket{le=\"0.001\"} 1\n",
            "seconds_bucket{le=\"5\"} 3\n",
            "seconds_bucket{le=\"+Inf\"} 4\n",
            "expiry_seconds 4102444800\n",
        };

        if (strstr(text, lines[i]) == NULL)
            fail_msg("no %s in %s", lines[i], text);
    }
}

TEST(test_metrics_beyond_the_table)
{
    const struct metrics_state now = {4102444800, true, 3};
    MU_CLEANUP(string_free) char *text = NULL;
    struct metrics *metrics = malloc(sizeof(*metrics));
    char version[16];

    assert_non_null(metrics);
    metrics_init(metrics);
    for (unsigned i = 0; i < METRICS_RESULTS + 9; i++) {
        (void)snprintf(version, sizeof(version), "%u", i);
        metrics_count_attestation(metrics, "ok", "web", version, 1000);
    }
    assert_int_equal(metrics_text(metrics, &now, &text, &err), MU_OK);
    assert_non_null(strstr(text, "{result=\"ok\",baseline=\"web\",version=\"510\"} 1\n"));
    assert_non_null(strstr(text, "{result=\"ok\",baseline=\"other\",version=\"\"} 10\n"));
    free(metrics);
}
