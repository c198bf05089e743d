/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "base/file.h"

#define LOAD_MAX 1048576

void fuzz_require(bool holds, const char *what)
{
    if (holds)
        return;
    (void)fprintf(stderr, "fuzz: does not hold: %s\n", what);
    abort();
}

void fuzz_outcome(enum mu_status status, const struct mu_error *err, unsigned classes)
{
    if (status == MU_OK)
        return;
    if ((classes & 1u << status) == 0 || status != err->status || err->text[0] == '\0')
        (void)fprintf(stderr, "fuzz: %d, %s: %s\n", (int)status, mu_status_name(err->status),
                      err->text);
    fuzz_require((classes & 1u << status) != 0, "the failure has a class that fits");
    fuzz_require(status == err->status, "the failure's class is recorded");
    fuzz_require(err->text[0] != '\0', "the failure has a text");
}

void fuzz_file(struct bytes content, size_t size, char ret_path[static FUZZ_PATH_SIZE])
{
    static int fd = -1;

    if (fd < 0)
        fd = memfd_create("fuzz", MFD_CLOEXEC);
    fuzz_require(fd >= 0 && ftruncate(fd, 0) == 0 && ftruncate(fd, (off_t)size) == 0, "memfd");
    if (content.len > size)
        content.len = size;
    fuzz_require(pwrite(fd, content.data, content.len, 0) == (ssize_t)content.len, "memfd");
    (void)snprintf(ret_path, FUZZ_PATH_SIZE, "/proc/self/fd/%d", fd);
}

struct buffer fuzz_load(const char *path)
{
    struct buffer content = {0};
    struct mu_error err = {0};

    if (file_read(path, LOAD_MAX, &content, &err) != MU_OK)
        (void)fprintf(stderr, "%s (run from the top of the tree)\n", err.text);
    fuzz_require(content.data != NULL, "a file of the tree");
    return content;
}

static EVP_PKEY *key_from(const char *path)
{
    struct buffer text = fuzz_load(path);
    BIO *bio = BIO_new_mem_buf(text.data, (int)text.len);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

    fuzz_require(key != NULL, "a test key");
    BIO_free(bio);
    buffer_free(&text);
    return key;
}

EVP_PKEY *fuzz_leaf_key(void)
{
    static EVP_PKEY *key;

    if (key == NULL)
        key = key_from("tests/fuzz/keys/leaf.pem");
    return key;
}

EVP_PKEY *fuzz_builder_key(void)
{
    static const uint8_t seed[32] = "secret to nobody";
    static EVP_PKEY *key;

    if (key == NULL)
        key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof(seed));
    fuzz_require(key != NULL, "an Ed25519 key");
    return key;
}

EVP_PKEY *fuzz_rsa_key(void)
{
    static EVP_PKEY *key;

    if (key == NULL)
        key = key_from("tests/fuzz/keys/rsa.pem");
    return key;
}

struct bytes fuzz_take(struct reader *r, size_t len)
{
    return reader_take(r, len < reader_left(r) ? len : reader_left(r));
}

unsigned fuzz_pauses;

bool __wrap_clock_pause_ms(unsigned ms, struct deadline deadline)
{
    (void)ms, (void)deadline;
    return fuzz_pauses > 0 && fuzz_pauses-- > 0;
}

void __wrap_log_line(const char *format, ...)
{
    (void)format;
}

struct buffer fuzz_own_root(const struct document *document)
{
    const uint8_t *pos = document->cabundle[0].data;
    X509 *root = d2i_X509(NULL, &pos, (long)document->cabundle[0].len);
    BIO *out = BIO_new(BIO_s_mem());
    struct buffer pem = {0};
    struct mu_error err = {0};
    char *data;

    if (root != NULL && PEM_write_bio_X509(out, root) == 1) {
        long len = BIO_get_mem_data(out, &data);

        fuzz_require(buffer_copy(&pem, (struct bytes){(uint8_t *)data, (size_t)len}, &err) == MU_OK,
                     "memory");
    }
    BIO_free(out);
    X509_free(root);
    return pem;
}
