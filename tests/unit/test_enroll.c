/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <openssl/ec.h>

#include "base/file.h"
#include "base/signature.h"
#include "build/enroll.h"
#include "image.h"
#include "test.h"
#include "volume/open.h"

#define SECTOR 512u
#define HEADER_COPY 16384u
/* LUKS2 On-Disk Format, 2.1: binary header */
#define SALT_AT 104u
#define CHECKSUM_AT 448u

static const char *image;
static struct signer signer = {.from = "the key of this test"};
static struct pcr_values baseline;

/* The keys that were sealed, last one last; shared with a child that gets killed. */
static struct {
    unsigned count;
    uint8_t key[4][32];
} * sealed;

static enum mu_status seal(struct bytes key, const struct record *old, struct record *record,
                           void *context, struct mu_error *error)
{
    (void)old;
    if (context != NULL)
        return mu_fail(error, MU_RETRY, "no KMS today");
    assert_int_equal(key.len, 32);
    memcpy(sealed->key[sealed->count++ % 4], key.data, key.len);
    (void)snprintf(record->provider, sizeof(record->provider), "test");
    record->provider_data = json_object_new_object();
    return MU_OK;
}

static enum mu_status run_enroll(struct record *ret, struct mu_error *error)
{
    MU_CLEANUP(secret_free) struct secret passphrase = secret_text(IMAGE_PASSPHRASE);
    struct enroll_request request = {.device = image,
                                     .volume = "root",
                                     .passphrase = &passphrase,
                                     .baseline = &baseline,
                                     .baselines = 1,
                                     .signer = &signer,
                                     .seal = seal};

    return enroll_volume(&request, ret, error);
}

static void assert_enrolls(int64_t version)
{
    MU_CLEANUP(record_free) struct record record = {0};

    if (run_enroll(&record, &err) != MU_OK)
        fail_msg("%s", err.text);
    assert_int_equal(record.version, version);
}

static void assert_passphrase_opens(void)
{
    struct crypt_device *cd = NULL;

    assert_int_equal(crypt_init(&cd, image), 0);
    assert_int_equal(crypt_load(cd, CRYPT_LUKS2, NULL), 0);
    assert_int_equal(crypt_activate_by_passphrase(cd, NULL, CRYPT_ANY_SLOT, IMAGE_PASSPHRASE,
                                                  strlen(IMAGE_PASSPHRASE), 0),
                     0);
    crypt_free(cd);
}

/* As libcryptsetup sees it, after its own repair. */
static void look(unsigned *ret_slots, bool *ret_pending)
{
    struct crypt_device *cd = NULL;
    const char *type = NULL;

    *ret_slots = 0;
    *ret_pending = false;
    assert_int_equal(crypt_init(&cd, image), 0);
    assert_int_equal(crypt_load(cd, CRYPT_LUKS2, NULL), 0);
    for (int i = 0; i < LUKS_KEYSLOTS_MAX; i++) {
        *ret_slots += crypt_keyslot_status(cd, i) >= CRYPT_SLOT_ACTIVE;
        if (crypt_token_status(cd, i, &type) >= CRYPT_TOKEN_INTERNAL &&
            strcmp(type, PENDING_TOKEN_TYPE) == 0)
            *ret_pending = true;
    }
    crypt_free(cd);
}

/* What a boot does; returns the record's version, 0 if there is no record. */
static int64_t boot(void)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};
    MU_CLEANUP(record_free) struct record record = {0};
    uint8_t identity[VOLUME_IDENTITY_SIZE];
    json_object *token = NULL;
    bool opened = false;

    if (luks_header_load(image, &header, &err) != MU_OK ||
        luks_header_check(&header, NULL, &err) != MU_OK)
        fail_msg("%s", err.text);
    if (luks_header_record_token(&header, &token, &err) != MU_OK)
        return 0;
    if (record_parse_token(token, &(struct public_keys){{signer.key}, 1}, &record, &err) != MU_OK ||
        luks_header_load_keyslot(&header, record.keyslot, &err) != MU_OK)
        fail_msg("%s", err.text);
    for (unsigned i = sealed->count; i > 0 && !opened; i--) { /* the last one most often */
        MU_CLEANUP(secret_free) struct secret key = {0};
        MU_CLEANUP(secret_free) struct secret volume_key = {0};

        assert_int_equal(secret_alloc(&key, 32, &err), MU_OK);
        memcpy(key.data, sealed->key[(i - 1) % 4], 32);
        if (volume_open_keyslot(&header, record.keyslot, &key, &volume_key, &err) != MU_OK)
            continue;
        assert_int_equal(volume_identity(&volume_key, header.uuid, identity, &err), MU_OK);
        assert_memory_equal(identity, record.volume_identity, sizeof(identity));
        opened = true;
    }
    assert_true(opened);
    return record.version;
}

void before_all(void)
{
    signer.key = EVP_EC_gen("P-256");
    sealed = mmap(NULL, sizeof(*sealed), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_non_null(signer.key);
    assert_ptr_not_equal(sealed, MAP_FAILED);
    baseline.bank = HASH_SHA384;
    baseline.mask = PCR_BIT(4) | PCR_BIT(12);
}

void before_each(void)
{
    image = temp_path("image");
    assert_int_equal(image_make(image, "xts-plain64", 64), 0);
    memset(sealed, 0, sizeof(*sealed));
}

TEST(test_first_and_second)
{
    unsigned slots;
    bool pending;

    for (int64_t version = 1; version <= 3; version++) {
        assert_enrolls(version);
        look(&slots, &pending);
        assert_passphrase_opens();
        assert_int_equal(slots, 2);
        assert_false(pending);
        assert_int_equal(boot(), version);
    }
}

TEST(test_wrong_passphrase)
{
    MU_CLEANUP(secret_free) struct secret passphrase = secret_text("wrong horse");
    struct enroll_request request = {.device = image,
                                     .volume = "root",
                                     .passphrase = &passphrase,
                                     .baseline = &baseline,
                                     .baselines = 1,
                                     .signer = &signer,
                                     .seal = seal};
    struct record record = {0};

    assert_int_equal(enroll_volume(&request, &record, &err), MU_REFUSE);
    assert_int_equal(sealed->count, 0);
    assert_int_equal(boot(), 0);
}

TEST(test_volume_key)
{
    MU_CLEANUP(secret_free) struct secret key = {0};
    struct crypt_device *cd = NULL;
    struct enroll_request request = {.device = image,
                                     .volume = "root",
                                     .volume_key = &key,
                                     .record_version = 7,
                                     .baseline = &baseline,
                                     .baselines = 1,
                                     .signer = &signer,
                                     .seal = seal};
    MU_CLEANUP(record_free) struct record record = {0};

    assert_int_equal(secret_alloc(&key, 64, &err), MU_OK);
    assert_int_equal(enroll_volume(&request, &record, &err), MU_REFUSE);
    assert_int_equal(crypt_init(&cd, image), 0);
    assert_int_equal(crypt_load(cd, CRYPT_LUKS2, NULL), 0);
    assert_int_equal(crypt_volume_key_get(cd, 0, (char *)key.data, &key.len, IMAGE_PASSPHRASE,
                                          strlen(IMAGE_PASSPHRASE)),
                     0);
    crypt_free(cd);
    assert_int_equal(enroll_volume(&request, &record, &err), MU_OK);
    assert_int_equal(boot(), 7);
}

/* Nothing is written when the key cannot be sealed. */
TEST(test_seal_fails)
{
    MU_CLEANUP(secret_free) struct secret passphrase = secret_text(IMAGE_PASSPHRASE);
    struct enroll_request request = {.device = image,
                                     .volume = "root",
                                     .passphrase = &passphrase,
                                     .baseline = &baseline,
                                     .baselines = 1,
                                     .signer = &signer,
                                     .seal = seal,
                                     .seal_context = sealed};
    struct record record = {0};
    MU_CLEANUP(luks_header_free) struct luks_header before = {0};
    MU_CLEANUP(luks_header_free) struct luks_header after = {0};

    assert_int_equal(luks_header_load(image, &before, &err), MU_OK);
    assert_int_equal(enroll_volume(&request, &record, &err), MU_RETRY);
    assert_int_equal(luks_header_load(image, &after, &err), MU_OK);
    assert_memory_equal(before.primary.data, after.primary.data, before.primary.len);
}

TEST(test_unfit_volume)
{
    struct record record = {0};

    assert_int_equal(image_make(image, "cbc-essiv:sha256", 32), 0);
    assert_int_equal(run_enroll(&record, &err), MU_REFUSE);
    assert_non_null(strstr(err.text, "segment-cipher"));
    assert_int_equal(sealed->count, 0);
}

/* A record too large for the header: all that was written is taken back. */
TEST(test_rolls_back)
{
    struct crypt_device *cd = NULL;
    char filler[9000];
    char token[9200];
    struct record record = {0};
    unsigned slots;
    bool pending;

    assert_enrolls(1);
    memset(filler, 'x', sizeof(filler) - 1);
    filler[sizeof(filler) - 1] = '\0';
    (void)snprintf(token, sizeof(token),
                   "{\"type\":\"" PENDING_TOKEN_TYPE "\",\"keyslots\":[],\"slots\":[\"%s\"]}",
                   filler);
    assert_int_equal(crypt_init(&cd, image), 0);
    assert_int_equal(crypt_load(cd, CRYPT_LUKS2, NULL), 0);
    assert_true(crypt_token_json_set(cd, 9, token) >= 0);
    crypt_free(cd);
    baseline.mask = 0xffffff;
    assert_int_equal(run_enroll(&record, &err), MU_OK); /* the filler was a leftover */
    record_free(&record);
    baseline.mask = PCR_BIT(4) | PCR_BIT(12);
    look(&slots, &pending);
    assert_passphrase_opens();
    assert_int_equal(slots, 2);
    assert_false(pending);
}

/* ---- killed at every write ---- */

/* Stops the tracer at what changes the file, and at nothing else: what a kill leaves is what is
 * there then. */
static bool trace_writes(void)
{
    static struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwrite64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
    };
    static const struct sock_fprog program = {MU_COUNT(filter), filter};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void child_enrolls(void)
{
    struct record record = {0};

    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || raise(SIGSTOP) != 0 || !trace_writes())
        _exit(9);
    _exit((int)run_enroll(&record, &err));
}

/* Stopped while a test looks at what it wrote. */
static pid_t child;

void after_each(void)
{
    if (child > 0) {
        (void)kill(child, SIGKILL);
        (void)waitpid(child, NULL, 0);
        child = 0;
    }
}

static void start_child(void)
{
    int status;

    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        child_enrolls();
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(
        ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL), 0);
}

/* To its next write; false: to its end. */
static bool goes_on(void)
{
    int status;

    assert_int_equal(ptrace(PTRACE_CONT, child, NULL, NULL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSTOPPED(status)) {
        assert_int_equal(status >> 8, SIGTRAP | PTRACE_EVENT_SECCOMP << 8);
        return true;
    }
    child = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return false;
}

/* The only trace that a boot may see of an interruption without repair: two copies that differ, or
 * one that is torn. */
static bool boot_would_refuse(void)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};

    if (luks_header_load(image, &header, &err) == MU_OK &&
        luks_header_check(&header, NULL, &err) == MU_OK)
        return false;
    assert_true(strstr(err.text, "copies-agree") != NULL || strstr(err.text, "checksum") != NULL);
    return true;
}

struct kills {
    bool enrolled;
    unsigned points, refused, states;
    struct buffer repaired; /* the last image as libcryptsetup repaired it, unsalted */
};

/* The salt and the checksum of a copy of the header are new at each repair. */
static void unsalt(struct buffer *content)
{
    for (size_t at = 0; at < 2 * HEADER_COPY; at += HEADER_COPY) {
        memset(content->data + at + SALT_AT, 0, 64);
        memset(content->data + at + CHECKSUM_AT, 0, 64);
    }
}

static void assert_boots_and_enrolls(bool enrolled)
{
    const __typeof__(*sealed) before = *sealed;
    int64_t version = boot();
    unsigned slots;
    bool pending;

    assert_in_range(version, enrolled, 1 + enrolled);
    assert_enrolls(version + 1);
    look(&slots, &pending);
    assert_passphrase_opens();
    assert_int_equal(slots, 2);
    assert_false(pending);
    *sealed = before;
}

static void killed_with(struct kills *kills, struct bytes left)
{
    const char *enrolling = image;
    struct buffer repaired = {0};
    unsigned slots;
    bool pending;

    image = temp_path("left");
    assert_int_equal(file_write(image, left, 0600, &err), MU_OK);
    kills->points++;
    kills->refused += boot_would_refuse();
    look(&slots, &pending);
    assert_int_equal(file_read(image, 4 << 20, &repaired, &err), MU_OK);
    unsalt(&repaired);
    if (!bytes_equal(buffer_view(&repaired), buffer_view(&kills->repaired))) {
        kills->states++;
        assert_boots_and_enrolls(kills->enrolled);
    }
    buffer_free(&kills->repaired);
    kills->repaired = repaired;
    image = enrolling;
}

/* The first half of the sectors that differ. */
static void tear(struct buffer *old, struct bytes new)
{
    size_t differ = 0, torn = 0;

    for (size_t at = 0; at < new.len; at += SECTOR)
        differ += memcmp(old->data + at, new.data + at, SECTOR) != 0;
    for (size_t at = 0; torn < differ / 2 && at < new.len; at += SECTOR) {
        torn += memcmp(old->data + at, new.data + at, SECTOR) != 0;
        memcpy(old->data + at, new.data + at, SECTOR);
    }
}

static void kill_everywhere(bool enrolled, bool torn)
{
    struct kills kills = {.enrolled = enrolled};
    MU_CLEANUP(buffer_free) struct buffer last = {0};
    bool running = true;

    if (enrolled)
        assert_enrolls(1);
    assert_int_equal(file_read(image, 4 << 20, &last, &err), MU_OK);
    start_child();
    while (running) {
        struct buffer now = {0};

        running = goes_on();
        assert_int_equal(file_read(image, 4 << 20, &now, &err), MU_OK);
        if (torn)
            tear(&last, buffer_view(&now));
        killed_with(&kills, torn ? buffer_view(&last) : buffer_view(&now));
        buffer_free(&last);
        last = now;
    }
    if (torn)
        killed_with(&kills, buffer_view(&last));
    buffer_free(&kills.repaired);
    assert_true(kills.points > 20);
    assert_true(kills.states > 4);
    print_message(
        "# %u points, %u of them between the two copies of the header, %u repaired states\n",
        kills.points, kills.refused, kills.states);
}

TEST(test_killed_first)
{
    kill_everywhere(false, false);
}

TEST(test_killed_second)
{
    kill_everywhere(true, false);
}

TEST(test_torn)
{
    kill_everywhere(true, true);
}
