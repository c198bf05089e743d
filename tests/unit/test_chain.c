/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/chain.h"

#include <openssl/ec.h>
#include <openssl/x509v3.h>

#include "test.h"

/* A path with a warm cache must get the verdict, and the words, that it gets without one. */

#define NOW 1796000000
#define HOUR 3600
#define DAY 86400
#define MANY 3000
#define FULL 150 /* of sets that are full the first that ends is dropped */
enum { LEAF, INSTANCE, ZONE, REGION, ROOT, LEVELS };

static EVP_PKEY *key[LEVELS], *foreign;

void before_all(void)
{
    for (size_t i = 0; i < LEVELS; i++)
        key[i] = EVP_EC_gen("P-384");
    foreign = EVP_EC_gen("P-384");
}

void after_all(void)
{
    for (size_t i = 0; i < LEVELS; i++)
        EVP_PKEY_free(key[i]);
    EVP_PKEY_free(foreign);
}

/* A certificate to make. What is left out is as AWS has it. */
struct plan {
    const char *subject, *issuer;
    EVP_PKEY *own, *by;
    const char *pathlen; /* ",pathlen:0"; "": none */
    const char *usage, *more, *more_value;
    int64_t from, until;
    bool no_ca;
};

static const struct plan usual[LEVELS] = {
    [LEAF] = {.subject = "i-1-tpm", .issuer = "i-1"},
    [INSTANCE] = {.subject = "i-1", .issuer = "zone", .pathlen = ",pathlen:0"},
    [ZONE] = {.subject = "zone", .issuer = "region", .pathlen = ",pathlen:1"},
    [REGION] = {.subject = "region", .issuer = "root", .pathlen = ",pathlen:2"},
    [ROOT] = {.subject = "root", .issuer = "root"},
};

static void add_extension(X509 *certificate, const char *name, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf(NULL, NULL, name, value);

    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

/* Those of the level: whoever forges a certificate copies them. */
static void add_identifiers(X509 *certificate, size_t level)
{
    AUTHORITY_KEYID *issuer = AUTHORITY_KEYID_new();
    uint8_t id[2] = {0xa1, (uint8_t)(level + 1)};
    char text[8];

    (void)snprintf(text, sizeof(text), "a1%02x", (unsigned)level);
    add_extension(certificate, "subjectKeyIdentifier", text);
    issuer->keyid = ASN1_OCTET_STRING_new();
    assert_int_equal(ASN1_OCTET_STRING_set(issuer->keyid, id, sizeof(id)), 1);
    if (level < ROOT)
        assert_int_equal(X509_add1_ext_i2d(certificate, NID_authority_key_identifier, issuer, 0, 0),
                         1);
    AUTHORITY_KEYID_free(issuer);
}

static void set_name(X509_NAME *name, const char *text)
{
    assert_int_equal(
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)text, -1, -1, 0), 1);
}

static X509 *make(const struct plan *plan, size_t level)
{
    X509 *made = X509_new();
    EVP_PKEY *by = plan->by ? plan->by : key[level == ROOT ? ROOT : level + 1];
    char constraints[64];

    assert_int_equal(X509_set_version(made, X509_VERSION_3), 1);
    set_name(X509_get_subject_name(made), plan->subject);
    set_name(X509_get_issuer_name(made), plan->issuer);
    ASN1_INTEGER_set(X509_get_serialNumber(made), (long)level + 1);
    ASN1_TIME_set(X509_getm_notBefore(made), plan->from ? plan->from : NOW - HOUR);
    ASN1_TIME_set(X509_getm_notAfter(made), plan->until ? plan->until : NOW + DAY);
    assert_int_equal(X509_set_pubkey(made, plan->own ? plan->own : key[level]), 1);
    (void)snprintf(constraints, sizeof(constraints), "critical,CA:%s%s",
                   level == LEAF || plan->no_ca ? "FALSE" : "TRUE",
                   plan->pathlen ? plan->pathlen : "");
    add_extension(made, "basicConstraints", constraints);
    add_extension(made, "keyUsage",
                  plan->usage     ? plan->usage
                  : level == LEAF ? "digitalSignature"
                                  : "critical,keyCertSign");
    add_identifiers(made, level);
    if (plan->more != NULL)
        add_extension(made, plan->more, plan->more_value);
    assert_true(X509_sign(made, by, EVP_sha384()) > 0);
    return made;
}

/* `change` replaces what is not empty in it. */
static struct plan changed(size_t level, const struct plan *change)
{
    struct plan plan = usual[level];

    if (change == NULL)
        return plan;
    plan.subject = change->subject ? change->subject : plan.subject;
    plan.issuer = change->issuer ? change->issuer : plan.issuer;
    plan.pathlen = change->pathlen ? change->pathlen : plan.pathlen;
    plan.own = change->own;
    plan.by = change->by;
    plan.usage = change->usage;
    plan.more = change->more;
    plan.more_value = change->more_value;
    plan.from = change->from;
    plan.until = change->until;
    plan.no_ca = change->no_ca;
    return plan;
}

static X509 *made(size_t level, const struct plan *change)
{
    struct plan plan = changed(level, change);

    return make(&plan, level);
}

static enum mu_status judge(X509 *const path[static LEVELS], int64_t at, struct chain_cache *cache,
                            struct mu_error *why)
{
    struct buffer der[ROOT] = {{0}};
    struct bytes bundle[ROOT];
    enum mu_status status;

    *why = (struct mu_error){0};
    for (size_t i = 1; i < LEVELS; i++) { /* cabundle: root, region, zone, instance */
        uint8_t *encoded = NULL;
        int len = i2d_X509(path[i], &encoded);

        assert_true(len > 0);
        assert_int_equal(buffer_copy(&der[ROOT - i], (struct bytes){encoded, (size_t)len}, &err),
                         MU_OK);
        OPENSSL_free(encoded);
        bundle[ROOT - i] = buffer_view(&der[ROOT - i]);
    }
    status = chain_verify(path[LEAF], bundle, ROOT, path[ROOT], at, cache, why);
    for (size_t i = 0; i < ROOT; i++)
        buffer_free(&der[i]);
    return status;
}

static STACK_OF(X509) * stack_of(X509 *const path[static LEVELS])
{
    STACK_OF(X509) *stack = sk_X509_new_null();

    for (size_t i = 0; i < LEVELS; i++)
        assert_true(sk_X509_push(stack, path[i]) > 0);
    return stack;
}

static bool known(struct chain_cache *cache, X509 *const path[static LEVELS], int from)
{
    STACK_OF(X509) *stack = stack_of(path);
    bool yes = chain_cache_knows(cache, stack, from, NOW);

    sk_X509_free(stack);
    return yes;
}

static void free_path(X509 *path[static LEVELS])
{
    for (size_t i = 0; i < LEVELS; i++)
        X509_free(path[i]);
}

static void assert_same(X509 *const path[static LEVELS], int64_t at, struct chain_cache *cache,
                        enum mu_status expected, const char *about)
{
    struct mu_error plain, cached;
    enum mu_status status = judge(path, at, NULL, &plain);

    if (status != expected)
        fail_msg("%s: without a cache: %s", about, status == MU_OK ? "accepted" : plain.text);
    for (int i = 0; i < 2; i++) {
        if (judge(path, at, cache, &cached) != expected)
            fail_msg("%s: with a cache: %s", about,
                     expected == MU_OK ? cached.text : "accepted, or refused for another reason");
        assert_string_equal(cached.text, plain.text);
    }
}

/* The path that is judged after the usual one of another instance, below the same CAs. */
static const struct attack {
    const char *about;
    struct plan upper[LEVELS], warm, instance, leaf; /* warm: of the instance CA before */
    int64_t later;
    enum mu_status status;
    bool not_kept; /* what is constrained is verified as a whole each time */
} attacks[] = {
    {.about = "another instance",
     .instance = {.subject = "i-2"},
     .leaf = {.issuer = "i-2"},
     .status = MU_OK},
    {.about = "an instance CA that a foreign key signed",
     .instance = {.by = NULL, .subject = "i-2"},
     .leaf = {.issuer = "i-2"},
     .status = MU_REFUSE},
    {.about = "an instance CA with the name of a known one, signed by its own key",
     .status = MU_REFUSE},
    {.about = "a leaf that a foreign key signed", .status = MU_REFUSE},
    {.about = "an instance CA that has ended", .instance = {.until = NOW - 1}, .status = MU_REFUSE},
    {.about = "an instance CA that has not begun",
     .instance = {.from = NOW + 1},
     .status = MU_REFUSE},
    {.about = "a leaf that has ended", .leaf = {.until = NOW - 1}, .status = MU_REFUSE},
    {.about = "a zone that has ended since",
     .upper[ZONE] = {.until = NOW + HOUR},
     .later = HOUR,
     .status = MU_REFUSE},
    {.about = "a region that has ended since",
     .upper[REGION] = {.until = NOW + HOUR},
     .later = HOUR,
     .status = MU_REFUSE},
    {.about = "a zone that has not quite ended",
     .upper[ZONE] = {.until = NOW + HOUR},
     .later = HOUR - 1,
     .status = MU_OK},
    {.about = "an instance CA that is none", .instance = {.no_ca = true}, .status = MU_REFUSE},
    {.about = "an instance CA that may not sign",
     .instance = {.usage = "critical,cRLSign"},
     .status = MU_REFUSE},
    {.about = "a leaf that may not sign", .leaf = {.usage = "keyAgreement"}, .status = MU_REFUSE},
    {.about = "an instance CA with a critical extension that nobody knows",
     .instance = {.more = "1.2.3.4", .more_value = "critical,ASN1:NULL"},
     .status = MU_REFUSE},
    {.about = "a leaf with a critical extension that nobody knows",
     .leaf = {.more = "1.2.3.4", .more_value = "critical,ASN1:NULL"},
     .status = MU_REFUSE},
    {.about = "an instance CA of another issuer's name",
     .instance = {.issuer = "region"},
     .status = MU_REFUSE},
    {.about = "path length 0 in the zone: only its own name does not count",
     .upper[ZONE] = {.pathlen = ",pathlen:0"},
     .warm = {.subject = "zone"},
     .instance = {.subject = "i-2"},
     .leaf = {.issuer = "i-2"},
     .status = MU_REFUSE,
     .not_kept = true},
    {.about = "path length 1 in the region: only the zone's own name does not count",
     .upper[REGION] = {.pathlen = ",pathlen:1"},
     .warm = {.subject = "zone"},
     .instance = {.subject = "i-2"},
     .leaf = {.issuer = "i-2"},
     .status = MU_REFUSE,
     .not_kept = true},
    {.about = "a name that the zone may not vouch for",
     .upper[ZONE] = {.more = "nameConstraints", .more_value = "critical,excluded;DNS:evil"},
     .leaf = {.more = "subjectAltName", .more_value = "DNS:evil"},
     .status = MU_REFUSE,
     .not_kept = true},
    {.about = "a name that the region may not vouch for",
     .upper[REGION] = {.more = "nameConstraints", .more_value = "excluded;DNS:evil"},
     .leaf = {.more = "subjectAltName", .more_value = "DNS:evil"},
     .status = MU_REFUSE,
     .not_kept = true},
    {.about = "a name that the instance's own CA may not vouch for",
     .instance = {.more = "nameConstraints", .more_value = "excluded;DNS:evil"},
     .leaf = {.more = "subjectAltName", .more_value = "DNS:evil"},
     .status = MU_REFUSE},
    {.about = "an instance CA that may sign for some purpose, and is split no more",
     .instance = {.more = "extendedKeyUsage", .more_value = "serverAuth"},
     .status = MU_OK},
};

static void add_foreign_keys(const char *about, struct plan *instance, struct plan *leaf)
{
    if (strstr(about, "that a foreign key signed") != NULL)
        *(strstr(about, "leaf") != NULL ? &leaf->by : &instance->by) = foreign;
    if (strstr(about, "signed by its own key") != NULL)
        instance->own = instance->by = leaf->by = foreign;
}

static void try_attack(const struct attack *attack)
{
    MU_CLEANUP(chain_cache_free) struct chain_cache *cache = NULL;
    struct plan instance = attack->instance, leaf = attack->leaf;
    struct plan warm_leaf = {.issuer = attack->warm.subject};
    X509 *warm[LEVELS], *cold[LEVELS];
    struct mu_error why;

    add_foreign_keys(attack->about, &instance, &leaf);
    assert_int_equal(chain_cache_new(&cache, &err), MU_OK);
    for (size_t i = ZONE; i < LEVELS; i++) {
        warm[i] = cold[i] = made(i, &attack->upper[i]);
        assert_int_equal(X509_up_ref(cold[i]), 1);
    }
    warm[INSTANCE] = made(INSTANCE, &attack->warm);
    warm[LEAF] = made(LEAF, &warm_leaf);
    cold[INSTANCE] = made(INSTANCE, &instance);
    cold[LEAF] = made(LEAF, &leaf);
    if (judge(warm, NOW, cache, &why) != MU_OK)
        fail_msg("%s: before: %s", attack->about, why.text);
    assert_int_equal(known(cache, warm, ZONE), !attack->not_kept);
    assert_int_equal(known(cache, warm, INSTANCE), !attack->not_kept);
    assert_same(cold, NOW + attack->later, cache, attack->status, attack->about);
    if (attack->status != MU_OK && !X509_cmp(warm[INSTANCE], cold[INSTANCE]))
        assert_false(known(cache, cold, INSTANCE));
    free_path(warm);
    free_path(cold);
}

TEST(test_a_cache_changes_no_verdict)
{
    for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++)
        try_attack(&attacks[i]);
}

/* That the two levels are used at all is seen by what they are made to believe. */
TEST(test_what_is_known_is_not_verified_again)
{
    MU_CLEANUP(chain_cache_free) struct chain_cache *cache = NULL;
    const struct plan forged = {.by = foreign};
    X509 *path[LEVELS];
    STACK_OF(X509) * stack;
    struct mu_error why;

    for (size_t i = 0; i < LEVELS; i++)
        path[i] = made(i, i == ZONE ? &forged : NULL);
    stack = stack_of(path);
    assert_int_equal(chain_cache_new(&cache, &err), MU_OK);
    assert_int_equal(judge(path, NOW, cache, &why), MU_REFUSE);
    chain_cache_add(cache, stack, REGION, NOW); /* of no use: the zone is not in it */
    assert_int_equal(judge(path, NOW, cache, &why), MU_REFUSE);
    chain_cache_add(cache, stack, ZONE, NOW);
    assert_false(known(cache, path, INSTANCE));
    assert_int_equal(judge(path, NOW, cache, &why), MU_OK);
    assert_true(known(cache, path, INSTANCE));
    sk_X509_free(stack);
    free_path(path);
}

TEST(test_of_another_root_nothing_is_known)
{
    MU_CLEANUP(chain_cache_free) struct chain_cache *cache = NULL;
    const struct plan other = {.own = foreign, .by = foreign};
    X509 *path[LEVELS], *own_root;
    struct mu_error why;

    assert_int_equal(chain_cache_new(&cache, &err), MU_OK);
    for (size_t i = 0; i < LEVELS; i++)
        path[i] = made(i, NULL);
    assert_int_equal(judge(path, NOW, cache, &why), MU_OK);
    own_root = path[ROOT];
    path[ROOT] = made(ROOT, &other);
    assert_same(path, NOW, cache, MU_REFUSE, "another root of that name");
    X509_free(own_root);
    free_path(path);
}

/* Certificates that differ by their number; the cache does not look at signatures. */
static void number(X509 *certificate, long serial, int64_t until)
{
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial), 1);
    assert_non_null(ASN1_TIME_set(X509_getm_notAfter(certificate), until));
}

static size_t count_known(struct chain_cache *cache, STACK_OF(X509) * stack, long first,
                          int64_t until)
{
    size_t count = 0;

    for (long i = 0; i < MANY; i++) {
        number(sk_X509_value(stack, INSTANCE), first + i, until);
        count += chain_cache_knows(cache, stack, INSTANCE, NOW);
    }
    return count;
}

static void add_many(struct chain_cache *cache, STACK_OF(X509) * stack, long first, int64_t at,
                     int64_t until)
{
    for (long i = 0; i < MANY; i++) {
        number(sk_X509_value(stack, INSTANCE), first + i, until);
        chain_cache_add(cache, stack, INSTANCE, at);
    }
}

TEST(test_the_cache_grows_with_those_who_are_valid)
{
    MU_CLEANUP(chain_cache_free) struct chain_cache *cache = NULL;
    const struct plan young = {.from = NOW - DAY};
    X509 *path[LEVELS];
    STACK_OF(X509) * stack;

    assert_int_equal(chain_cache_new(&cache, &err), MU_OK);
    for (size_t i = 0; i < LEVELS; i++)
        path[i] = made(i, &young);
    stack = stack_of(path);
    add_many(cache, stack, 1000, NOW, NOW + HOUR);
    assert_in_range(count_known(cache, stack, 1000, NOW + HOUR), MANY - FULL, MANY);
    add_many(cache, stack, 100000, NOW, NOW + HOUR + 1);
    assert_in_range(count_known(cache, stack, 1000, NOW + HOUR), MANY - FULL, MANY);
    assert_int_equal(count_known(cache, stack, 1000, NOW + 2 * HOUR), 0); /* other bits */
    for (long day = 1; day < 6; day++) /* each day others; who has ended makes room */
        add_many(cache, stack, 1000000 * day, NOW + DAY / 2, NOW + DAY);
    assert_int_equal(count_known(cache, stack, 1000, NOW + HOUR), 0);
    assert_in_range(count_known(cache, stack, 5000000, NOW + DAY), MANY - FULL, MANY);
    sk_X509_free(stack);
    free_path(path);
}
