/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/approved.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "build/manifest.h"
#include "made_pe.h"
#include "test.h"

#define TEXT(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})
#define THREADS 4
#define ACTS 20

static EVP_PKEY *key;
static char place[256];

void before_all(void)
{
    key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    assert_non_null(key);
}

void after_all(void)
{
    EVP_PKEY_free(key);
}

static struct store *new_store(const char *name)
{
    struct store *store = NULL;

    (void)snprintf(place, sizeof(place), "sqlite:%s", temp_path(name));
    assert_int_equal(store_open(place, STORE_MAKE, &store, &err), MU_OK);
    return store;
}

static struct approved *new_approved(void)
{
    struct public_keys keys = {{key}, 1};
    struct approved *approved = NULL;

    assert_int_equal(EVP_PKEY_up_ref(key), 1);
    assert_int_equal(approved_new(&keys, 15, &approved, &err), MU_OK);
    return approved;
}

/* A UKI, or a boot loader, with that text in it. */
static struct buffer image_of(enum manifest_kind kind, const char *text)
{
    struct made_section sections[] = {
        {".text", text_view(text)},
        {".sdmagic", TEXT("#### LoaderInfo: systemd-stub 258.1 ####")},
        {".linux", TEXT("kernel")}};

    if (kind == MANIFEST_BOOT_LOADER)
        sections[1].data = TEXT("#### LoaderInfo: systemd-boot 258.1 ####");
    return made_pe(sections, kind == MANIFEST_BOOT_LOADER ? 2 : 3, TEXT(""), 0);
}

static void act_on(struct store *store, enum manifest_kind kind, const char *name,
                   enum image_act_kind what, int64_t until_ms)
{
    static const struct secure_boot off;
    struct buffer image = image_of(kind, name), statement = {0};
    const struct manifest_file file = {"x.efi", buffer_view(&image)};
    const struct manifest_request request = {.kind = kind,
                                             .name = name,
                                             .version = "1",
                                             .source = "git",
                                             .builder = "ci",
                                             .images = &file,
                                             .count = 1,
                                             .keys = &off};
    const struct signer signer = {.from = "", .key = key};
    struct manifest manifest = {0};
    json_object *envelope = NULL;
    struct image_act act = {.kind = manifest_kind_name(kind),
                            .name = name,
                            .version = "1",
                            .act = what,
                            .at_ms = 1000,
                            .until_ms = until_ms,
                            .author = "ada",
                            .why = "CVE"};

    if (manifest_make(&request, &statement, &err) != MU_OK ||
        manifest_sign(&signer, buffer_view(&statement), &envelope, &err) != MU_OK ||
        manifest_parse(buffer_view(&statement), &manifest, &err) != MU_OK)
        fail_msg("%s", err.text);
    act.id = manifest.id;
    act.envelope = json_text(envelope);
    assert_int_equal(store_image_act(store, &act, &err), MU_OK);
    json_free(&envelope);
    manifest_free(&manifest);
    buffer_free(&statement);
    buffer_free(&image);
}

static struct approved_set *get(struct approved *approved, struct store *store)
{
    struct approved_set *set = NULL;

    if (approved_get(approved, store, &set, &err) != MU_OK)
        fail_msg("%s", err.text);
    return set;
}

TEST(test_read_again_after_an_act_and_only_then)
{
    struct store *store = new_store("again");
    struct approved *approved = new_approved();
    struct approved_set *before, *same, *after;

    act_on(store, MANIFEST_IMAGE, "web", ACT_APPROVE, 0);
    before = get(approved, store);
    same = get(approved, store);
    assert_ptr_equal(before, same);
    assert_int_equal(approved_list(before)->count, 2);
    assert_int_equal(approved_list(before)->item[0].state, STATE_BOOT);
    assert_int_equal(approved_list(before)->item[1].state, STATE_RUNNING);
    assert_null(approved_list(before)->item[0].withdrawn);
    act_on(store, MANIFEST_IMAGE, "web", ACT_REVOKE, 0);
    after = get(approved, store);
    assert_ptr_not_equal(before, after);
    assert_string_equal(approved_list(after)->item[0].withdrawn,
                        "was revoked at 1970-01-01T00:00:01.000Z by ada: CVE");
    assert_string_equal(approved_list(before)->item[0].name, "web"); /* it is still held */
    approved_release(&before);
    approved_release(&same);
    approved_free(&approved);
    assert_string_equal(approved_list(after)->item[0].name, "web");
    approved_release(&after);
    store_close(&store);
}

/* The pair ends with the first of the two, and it is said which that is. */
TEST(test_boot_loader_ends_what_it_starts)
{
    static const struct {
        enum image_act_kind loader;
        int64_t loader_until, image_until, until;
        const char *ends;
    } cases[] = {
        {ACT_APPROVE, 0, 0, 0, "web"},          {ACT_APPROVE, 5000, 9000, 5000, "boot"},
        {ACT_APPROVE, 9000, 5000, 5000, "web"}, {ACT_APPROVE, 5000, 0, 5000, "boot"},
        {ACT_REVOKE, 0, 9000, 0, "boot"},
    };

    for (size_t i = 0; i < MU_COUNT(cases); i++) {
        struct store *store = new_store((char[]){'e', (char)('0' + i), '\0'});
        struct approved *approved = new_approved();
        const struct reference_value *pair;
        struct approved_set *set;

        act_on(store, MANIFEST_IMAGE, "web", ACT_APPROVE, cases[i].image_until);
        act_on(store, MANIFEST_BOOT_LOADER, "boot", cases[i].loader, cases[i].loader_until);
        set = get(approved, store);
        assert_int_equal(approved_list(set)->count, 4);
        pair = &approved_list(set)->item[2];
        assert_string_equal(pair->name, "web");
        assert_non_null(pair->boot_loader);
        assert_string_equal(pair->ends, cases[i].ends);
        assert_int_equal(pair->until_ms, cases[i].until);
        assert_int_equal(pair->withdrawn != NULL, cases[i].loader == ACT_REVOKE);
        assert_null(approved_list(set)->item[0].boot_loader);
        assert_int_equal(approved_list(set)->item[0].until_ms, cases[i].image_until);
        approved_release(&set);
        approved_free(&approved);
        store_close(&store);
    }
}

TEST(test_store_that_cannot_be_read)
{
    struct store *store = new_store("unreadable");
    struct approved *approved = new_approved(), *late = new_approved();
    struct approved_set *before, *after, *none = NULL;
    sqlite3 *db;

    act_on(store, MANIFEST_IMAGE, "web", ACT_APPROVE, 0);
    before = get(approved, store);
    assert_int_equal(sqlite3_open(temp_path("unreadable"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "DROP TABLE meta", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
    after = get(approved, store);
    assert_ptr_equal(before, after);
    assert_int_equal(approved_get(late, store, &none, &err), MU_RETRY);
    assert_null(none);
    approved_release(&before);
    approved_release(&after);
    approved_free(&approved);
    approved_free(&late);
    store_close(&store);
}

struct getter {
    struct approved *approved;
    struct store *store;
    atomic_bool *stop;
};

static void *read_on(void *context)
{
    struct getter *getter = context;
    struct mu_error own = {0};

    while (!atomic_load(getter->stop)) {
        struct approved_set *set = NULL;

        if (approved_get(getter->approved, getter->store, &set, &own) != MU_OK ||
            approved_list(set)->count == 0 || approved_list(set)->item[0].name[0] != 'w')
            return NULL;
        approved_release(&set);
    }
    return getter;
}

/* For ThreadSanitizer, too. */
TEST(test_many_threads)
{
    struct store *store = new_store("threads");
    struct approved *approved = new_approved();
    struct getter getter[THREADS];
    pthread_t thread[THREADS];
    atomic_bool stop = false;

    act_on(store, MANIFEST_IMAGE, "web", ACT_APPROVE, 0);
    for (size_t i = 0; i < THREADS; i++) {
        getter[i] = (struct getter){approved, store, &stop};
        assert_int_equal(pthread_create(&thread[i], NULL, read_on, &getter[i]), 0);
    }
    for (size_t i = 0; i < ACTS; i++)
        act_on(store, MANIFEST_IMAGE, "web", i % 2 == 0 ? ACT_REVOKE : ACT_APPROVE, 0);
    atomic_store(&stop, true);
    for (size_t i = 0; i < THREADS; i++) {
        void *ended = NULL;

        assert_int_equal(pthread_join(thread[i], &ended), 0);
        assert_ptr_equal(ended, &getter[i]);
    }
    approved_free(&approved);
    store_close(&store);
}
