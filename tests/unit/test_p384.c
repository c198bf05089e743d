/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/p384.h"

#include <openssl/obj_mac.h>

#include "test.h"

/* OpenSSL's own multiplication is the second opinion. */

static EC_GROUP *group;
static BN_CTX *context;
static const BIGNUM *order;
static size_t left_to_openssl;

int p384_mul_openssl(const EC_GROUP *on, EC_POINT *r, const BIGNUM *scalar, size_t num,
                     const EC_POINT *points[], const BIGNUM *scalars[], BN_CTX *with)
{
    left_to_openssl++;
    assert_true(num <= 1);
    return EC_POINT_mul(on, r, scalar, num == 1 ? points[0] : NULL, num == 1 ? scalars[0] : NULL,
                        with);
}

void before_all(void)
{
    group = EC_GROUP_new_by_curve_name(NID_secp384r1);
    context = BN_CTX_new();
    order = EC_GROUP_get0_order(group);
    assert_non_null(context);
}

void after_all(void)
{
    BN_CTX_free(context);
    EC_GROUP_free(group);
}

/* by_base * G + by_point * point, both ways; true if it was not left to OpenSSL. */
static bool is_same(const BIGNUM *by_base, const EC_POINT *point, const BIGNUM *by_point)
{
    EC_POINT *expected = EC_POINT_new(group), *found = EC_POINT_new(group);
    size_t before = left_to_openssl;

    assert_int_equal(EC_POINT_mul(group, expected, by_base, point, by_point, context), 1);
    assert_int_equal(p384_mul(group, found, by_base, 1, &point, &by_point, context), 1);
    assert_int_equal(EC_POINT_cmp(group, expected, found, context), 0);
    EC_POINT_free(expected);
    EC_POINT_free(found);
    return left_to_openssl == before;
}

static EC_POINT *times_base(const BIGNUM *scalar)
{
    EC_POINT *point = EC_POINT_new(group);

    assert_int_equal(EC_POINT_mul(group, point, scalar, NULL, NULL, context), 1);
    return point;
}

static BIGNUM *number(long value)
{
    BIGNUM *ret = BN_new();

    assert_int_equal(BN_set_word(ret, (BN_ULONG)labs(value)), 1);
    BN_set_negative(ret, value < 0);
    return ret;
}

TEST(test_random_numbers)
{
    BIGNUM *scalar[3] = {BN_new(), BN_new(), BN_new()};

    for (int i = 0; i < 200; i++) {
        EC_POINT *point;

        for (size_t n = 0; n < 3; n++)
            assert_int_equal(BN_rand_range(scalar[n], order), 1);
        point = times_base(scalar[0]);
        assert_true(is_same(scalar[1], point, scalar[2]));
        EC_POINT_free(point);
    }
    for (size_t n = 0; n < 3; n++)
        BN_free(scalar[n]);
}

/* With points that are small multiples of the generator, sums meet on the way, or are at infinity.
 * All of them are right, whoever computes them. */
TEST(test_points_that_meet)
{
    static const long points[] = {1, 2, 3, 5, 7, 15, 16, 63, 127, 129, -1, -2, -3, -127};
    size_t own = 0, all = 0;

    for (size_t p = 0; p < sizeof(points) / sizeof(points[0]); p++) {
        BIGNUM *at = number(points[p]);
        EC_POINT *point = times_base(at);

        for (long a = -3; a < 40; a++) {
            BIGNUM *by_base = number(a < 0 ? 0 : a * 5), *by_point = number(a < 0 ? 0 : a + 1);

            if (a < 0) /* the order less 3, 2, 1 */
                assert_int_equal(BN_sub(by_base, order, by_base), 1);
            if (a < 0)
                assert_int_equal(BN_sub_word(by_base, (BN_ULONG)-a), 1);
            own += is_same(by_base, point, by_point);
            own += is_same(by_point, point, by_base);
            all += 2;
            BN_free(by_base);
            BN_free(by_point);
        }
        EC_POINT_free(point);
        BN_free(at);
    }
    assert_in_range(own, all / 2, all - 1);
}

TEST(test_numbers_at_the_edge)
{
    EC_POINT *point;
    BIGNUM *seven = number(7), *edge[8];

    point = times_base(seven);
    edge[0] = number(0);
    edge[1] = number(1);
    edge[2] = BN_dup(order);
    edge[3] = BN_dup(order);
    (void)BN_sub_word(edge[3], 1);
    edge[4] = BN_dup(order);
    (void)BN_add_word(edge[4], 1);
    edge[5] = number(1); /* all bits, more than the order */
    (void)BN_lshift(edge[5], edge[5], 384);
    (void)BN_sub_word(edge[5], 1);
    edge[6] = number(1); /* a bit more */
    (void)BN_lshift(edge[6], edge[6], 384);
    edge[7] = number(-5);
    for (size_t a = 0; a < 8; a++)
        for (size_t b = 0; b < 8; b++) {
            bool own = is_same(edge[a], point, edge[b]);

            assert_true(!own || (a < 6 && b < 6)); /* the last two are not for us */
        }
    for (size_t i = 0; i < 8; i++)
        BN_free(edge[i]);
    BN_free(seven);
    EC_POINT_free(point);
}

/* With one number it is a private key's, a nonce's, or ECDH. */
TEST(test_secret_numbers_are_left_to_openssl)
{
    BIGNUM *secret = number(77);
    EC_POINT *point = times_base(secret), *found = EC_POINT_new(group), *nowhere;
    const EC_POINT *points[] = {point};
    const BIGNUM *scalars[] = {secret};
    size_t before = left_to_openssl;

    assert_int_equal(p384_mul(group, found, secret, 0, NULL, NULL, context), 1);
    assert_int_equal(p384_mul(group, found, NULL, 1, points, scalars, context), 1);
    assert_int_equal(left_to_openssl, before + 2);
    nowhere = EC_POINT_new(group);
    assert_int_equal(EC_POINT_set_to_infinity(group, nowhere), 1);
    assert_false(is_same(secret, nowhere, secret));
    EC_POINT_free(nowhere);
    EC_POINT_free(found);
    EC_POINT_free(point);
    BN_free(secret);
}
