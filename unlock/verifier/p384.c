/* SPDX-License-Identifier: GPL-2.0-or-later */
#define OPENSSL_SUPPRESS_DEPRECATED /* for Jacobian coordinates: affine ones cost an inversion */
#include "verifier/p384.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/obj_mac.h>

#define LIMBS 6
#define SIZE 48
#define BITS 384
#define DIGITS (BITS + 2)
#define WINDOW 5 /* of a point: 8 odd multiples are made */
#define BASE_WINDOW 8
#define MULTIPLES(window) ((size_t)1 << ((window)-2))

/* x, y and z, each times 2^384 modulo p, of the point x/z^2, y/z^3; z is 0 at infinity. */
struct point {
    uint64_t limb[3 * LIMBS];
};
#define X(point) ((point)->limb)
#define Y(point) ((point)->limb + LIMBS)
#define Z(point) ((point)->limb + (size_t)2 * LIMBS)

/* s2n-bignum. The two points must not be the same one. */
void p384_montjdouble_alt(uint64_t p3[static 18], const uint64_t p1[static 18]);
void p384_montjadd_alt(uint64_t p3[static 18], const uint64_t p1[static 18],
                       const uint64_t p2[static 18]);

static const uint64_t prime[LIMBS] = {0x00000000ffffffff, 0xffffffff00000000, 0xfffffffffffffffe,
                                      0xffffffffffffffff, 0xffffffffffffffff, 0xffffffffffffffff};

/* Of the generator: 1, 3, 5, ... times. */
static struct {
    pthread_once_t once;
    bool made;
    struct point generator; /* not scaled */
    struct point multiple[MULTIPLES(BASE_WINDOW)];
} base = {.once = PTHREAD_ONCE_INIT};

static bool is_infinity(const struct point *point)
{
    static const uint64_t zero[LIMBS];

    return memcmp(Z(point), zero, sizeof(zero)) == 0;
}

static void twice(struct point *to, const struct point *point)
{
    struct point result = {0};

    p384_montjdouble_alt(result.limb, point->limb);
    *to = result;
}

/* False if they are the same, or the negative of each other: their difference has no inverse. */
static bool add(struct point *to, const struct point *other)
{
    struct point result = {0};

    if (is_infinity(to)) {
        *to = *other;
        return true;
    }
    p384_montjadd_alt(result.limb, to->limb, other->limb);
    *to = result;
    return !is_infinity(to);
}

static bool add_negative(struct point *to, const struct point *other)
{
    struct point negative = *other;
    unsigned char borrow = 0;

    for (size_t i = 0; i < LIMBS; i++) { /* no point of P-384 has y = 0 */
        __extension__ unsigned __int128 difference =
            (unsigned __int128)prime[i] - Y(other)[i] - borrow;

        Y(&negative)[i] = (uint64_t)difference;
        borrow = (difference >> 64) != 0;
    }
    return add(to, &negative);
}

static bool odd_multiples(const struct point *point, struct point *ret, size_t count)
{
    struct point two;

    twice(&two, point);
    ret[0] = *point;
    for (size_t i = 1; i < count; i++) {
        ret[i] = ret[i - 1];
        if (!add(&ret[i], &two))
            return false;
    }
    return true;
}

/* ---- numbers of OpenSSL ---- */

static bool limbs_of(const BIGNUM *number, uint64_t ret[static LIMBS])
{
    uint8_t bytes[SIZE];

    if (BN_bn2lebinpad(number, bytes, SIZE) != SIZE)
        return false;
    for (size_t i = 0; i < LIMBS; i++) {
        ret[i] = 0;
        for (size_t b = 0; b < 8; b++)
            ret[i] |= (uint64_t)bytes[8 * i + b] << 8 * b;
    }
    return true;
}

static bool number_of(const uint64_t limbs[static LIMBS], BIGNUM *ret)
{
    uint8_t bytes[SIZE];

    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(limbs[i / 8] >> 8 * (i % 8));
    return BN_lebin2bn(bytes, SIZE, ret) != NULL;
}

/* number times 2^384 */
static bool scale(BIGNUM *number, const BIGNUM *p, BN_CTX *context)
{
    return BN_lshift(number, number, BITS) == 1 && BN_nnmod(number, number, p, context) == 1;
}

/* As OpenSSL has it: Jacobian, and not scaled. */
static bool load(const EC_GROUP *group, const EC_POINT *point, struct point *ret,
                 BIGNUM *number[static 3], BN_CTX *context)
{
    return EC_POINT_get_Jprojective_coordinates_GFp(group, point, number[0], number[1], number[2],
                                                    context) == 1 &&
           limbs_of(number[0], X(ret)) && limbs_of(number[1], Y(ret)) &&
           limbs_of(number[2], Z(ret));
}

static bool scale_point(const BIGNUM *p, const struct point *point, struct point *ret,
                        BIGNUM *number, BN_CTX *context)
{
    for (size_t i = 0; i < 3; i++)
        if (!number_of(point->limb + LIMBS * i, number) || !scale(number, p, context) ||
            !limbs_of(number, ret->limb + LIMBS * i))
            return false;
    return true;
}

/* x/z^2 stays the same if x, y and z are multiplied by f^2, f^3 and f: with f = 2^-384 that takes
 * one 2^384 from z and leaves one more in x and two more in y than they have. */
static bool store(const EC_GROUP *group, const struct point *point, EC_POINT *ret,
                  BIGNUM *number[static 3], BN_CTX *context)
{
    const BIGNUM *p = EC_GROUP_get0_field(group);
    BIGNUM *x = number[0], *y = number[1], *z = number[2];

    return number_of(X(point), x) && number_of(Y(point), y) && number_of(Z(point), z) &&
           scale(x, p, context) && scale(y, p, context) && scale(y, p, context) &&
           EC_POINT_set_Jprojective_coordinates_GFp(group, ret, x, y, z, context) == 1 &&
           EC_POINT_is_on_curve(group, ret, context) == 1;
}

/* ---- signed digits ---- */

static unsigned bits_at(const uint64_t scalar[static LIMBS], size_t at, size_t count)
{
    unsigned bits = 0;

    for (size_t i = 0; i < count && at + i < BITS; i++)
        bits |= (unsigned)(scalar[(at + i) / 64] >> (at + i) % 64 & 1) << i;
    return bits;
}

/* scalar is the sum of ret[i] 2^i; each is 0 or odd and less than 2^(window - 1), of any sign. */
static void digits_of(const uint64_t scalar[static LIMBS], size_t window, int ret[static DIGITS])
{
    unsigned carry = 0;
    size_t at = 0;

    memset(ret, 0, DIGITS * sizeof(*ret));
    while (at < DIGITS) {
        unsigned word;

        if (bits_at(scalar, at, 1) == carry) {
            at++;
            continue;
        }
        word = bits_at(scalar, at, window) + carry;
        carry = word >> (window - 1) & 1;
        ret[at] = (int)word - (int)(carry << window);
        at += window;
    }
}

static bool add_digit(struct point *sum, int digit, const struct point *multiple)
{
    if (digit == 0)
        return true;
    return digit > 0 ? add(sum, &multiple[digit / 2]) : add_negative(sum, &multiple[-digit / 2]);
}

/* ---- multiplying ---- */

static bool make_multiples(const EC_GROUP *group, const EC_POINT *point, struct point *unscaled,
                           struct point *ret, size_t count, BIGNUM *number[static 3],
                           BN_CTX *context)
{
    struct point scaled;

    return load(group, point, unscaled, number, context) &&
           scale_point(EC_GROUP_get0_field(group), unscaled, &scaled, number[0], context) &&
           odd_multiples(&scaled, ret, count);
}

static void make_base(void)
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_secp384r1);
    BN_CTX *context = BN_CTX_new();
    BIGNUM *number[3] = {BN_new(), BN_new(), BN_new()};

    base.made = group != NULL && context != NULL && number[0] != NULL && number[1] != NULL &&
                number[2] != NULL &&
                make_multiples(group, EC_GROUP_get0_generator(group), &base.generator,
                               base.multiple, MULTIPLES(BASE_WINDOW), number, context);
    for (size_t i = 0; i < 3; i++)
        BN_free(number[i]);
    BN_CTX_free(context);
    EC_GROUP_free(group);
}

static bool is_scalar(const BIGNUM *scalar)
{
    return scalar != NULL && !BN_is_negative(scalar) && BN_num_bits(scalar) <= BITS;
}

/* False also if points meet on the way, or the sum is at infinity. */
static bool multiply(const EC_GROUP *group, EC_POINT *r, const BIGNUM *by_base,
                     const EC_POINT *point, const BIGNUM *by_point, BIGNUM *number[static 3],
                     BN_CTX *context)
{
    int digit[2][DIGITS];
    struct point multiple[MULTIPLES(WINDOW)], unscaled, sum = {0};
    uint64_t scalar[2][LIMBS];

    if (!limbs_of(by_base, scalar[0]) || !limbs_of(by_point, scalar[1]) ||
        !load(group, EC_GROUP_get0_generator(group), &unscaled, number, context) ||
        memcmp(&unscaled, &base.generator, sizeof(unscaled)) != 0 ||
        !make_multiples(group, point, &unscaled, multiple, MULTIPLES(WINDOW), number, context))
        return false;
    digits_of(scalar[0], BASE_WINDOW, digit[0]);
    digits_of(scalar[1], WINDOW, digit[1]);
    for (size_t i = DIGITS; i > 0; i--) {
        if (!is_infinity(&sum))
            twice(&sum, &sum);
        if (!add_digit(&sum, digit[0][i - 1], base.multiple) ||
            !add_digit(&sum, digit[1][i - 1], multiple))
            return false;
    }
    return !is_infinity(&sum) && store(group, &sum, r, number, context);
}

static bool is_done(const EC_GROUP *group, EC_POINT *r, const BIGNUM *by_base,
                    const EC_POINT *point, const BIGNUM *by_point, BN_CTX *context)
{
    BIGNUM *number[3];
    bool done;

    if (context == NULL || !is_scalar(by_base) || !is_scalar(by_point) ||
        EC_POINT_is_at_infinity(group, point) || pthread_once(&base.once, make_base) != 0 ||
        !base.made)
        return false;
    BN_CTX_start(context);
    for (size_t i = 0; i < 3; i++)
        number[i] = BN_CTX_get(context);
    done = number[2] != NULL && multiply(group, r, by_base, point, by_point, number, context);
    BN_CTX_end(context);
    return done;
}

int p384_mul(const EC_GROUP *group, EC_POINT *r, const BIGNUM *scalar, size_t num,
             const EC_POINT *points[], const BIGNUM *scalars[], BN_CTX *context)
{
    if (scalar != NULL && num == 1 && is_done(group, r, scalar, points[0], scalars[0], context))
        return 1;
    return p384_mul_openssl(group, r, scalar, num, points, scalars, context);
}
