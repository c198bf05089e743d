/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/varstore.h"

#include <string.h>

#define STORE_MAX_BYTES (VARSTORE_EC2_MAX / 4 * 3)
/* Non-volatile, boot services, run time, time-based authenticated (UEFI 2.10, 8.2). */
#define ATTRIBUTES 0x27
#define TIME_BYTES 16
#define DIGEST_BYTES 32

/* RFC 1950: deflate with a window of 32 KiB, and a preset dictionary, which EC2's format has. Ours
 * refers to nothing in it, so its checksum is all that is needed. */
#define ZLIB_METHOD 0x78
#define ZLIB_FLAGS 0xf9
#define EC2_DICTIONARY 0x6bb7d9f7
#define DEFLATE_LAST_STORED 0x01
#define ADLER_MODULUS 65521
/* Reflected polynomial of CRC-32C, Castagnoli's (RFC 3720, 12.1). */
#define CRC32C_POLYNOMIAL 0x82f63b78

static uint32_t crc32c(struct bytes data)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < data.len; i++) {
        crc ^= data.data[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? CRC32C_POLYNOMIAL : 0);
    }
    return ~crc;
}

/* RFC 1950, 8.2 */
static uint32_t adler32(struct bytes data)
{
    uint32_t a = 1, b = 0;

    for (size_t i = 0; i < data.len; i++) {
        a = (a + data.data[i]) % ADLER_MODULUS;
        b = (b + a) % ADLER_MODULUS;
    }
    return b << 16 | a;
}

static void write_sized(struct writer *w, struct bytes data)
{
    writer_le(w, data.len, 8);
    writer_bytes(w, data);
}

/* No time and no digest of a certificate: the variable was never updated. */
static void write_variable(struct writer *w, const char *name,
                           const uint8_t guid[static EFI_GUID_BYTES], struct bytes data)
{
    static const uint8_t none[DIGEST_BYTES] = {0};

    if (data.len == 0)
        return;
    write_sized(w, text_view(name));
    write_sized(w, data);
    writer_bytes(w, (struct bytes){guid, EFI_GUID_BYTES});
    writer_le(w, ATTRIBUTES, 4);
    writer_bytes(w, (struct bytes){none, TIME_BYTES});
    write_sized(w, (struct bytes){none, DIGEST_BYTES});
}

static void write_variables(struct writer *w, const struct secure_boot *keys)
{
    const struct bytes all[] = {keys->pk, keys->kek, keys->db, keys->dbx};
    uint64_t count = 0;

    for (size_t i = 0; i < MU_COUNT(all); i++)
        count += all[i].len > 0;
    writer_le(w, count, 8);
    write_variable(w, "PK", secureboot_global_guid, keys->pk);
    write_variable(w, "KEK", secureboot_global_guid, keys->kek);
    write_variable(w, "db", secureboot_database_guid, keys->db);
    write_variable(w, "dbx", secureboot_database_guid, keys->dbx);
}

/* RFC 1950 and, 3.2.4, RFC 1951: one block that is stored as it is. `data` is shorter than 64 KiB.
 */
static void write_zlib(struct writer *w, struct bytes data)
{
    writer_u8(w, ZLIB_METHOD);
    writer_u8(w, ZLIB_FLAGS);
    writer_be32(w, EC2_DICTIONARY);
    writer_u8(w, DEFLATE_LAST_STORED);
    writer_le(w, data.len, 2);
    writer_le(w, ~data.len, 2);
    writer_bytes(w, data);
    writer_be32(w, adler32(data));
}

/* Magic, CRC-32C of all that follows it, version, the variables. */
static void write_store(struct writer *w, struct bytes variables)
{
    static const char magic[] = "AMZNUEFI";
    const size_t checked = strlen(magic) + 4;
    struct writer crc;

    writer_bytes(w, text_view(magic));
    writer_le(w, 0, 4);
    writer_le(w, 0, 4); /* version */
    write_zlib(w, variables);
    if (w->failed)
        return;
    crc = writer_into(w->data + strlen(magic), 4);
    writer_le(&crc, crc32c((struct bytes){w->data + checked, w->len - checked}), 4);
}

enum mu_status varstore_for_ec2(const struct secure_boot *keys, char **ret, struct mu_error *err)
{
    uint8_t raw[STORE_MAX_BYTES], file[STORE_MAX_BYTES];
    struct writer variables = writer_into(raw, sizeof(raw)),
                  store = writer_into(file, sizeof(file));

    write_variables(&variables, keys);
    if (!variables.failed)
        write_store(&store, (struct bytes){raw, variables.len});
    if (variables.failed || store.failed)
        return mu_fail(err, MU_CONFIG,
                       "the variables do not fit into the %d characters that EC2 takes: leave out "
                       "of dbx what db does not allow anyway",
                       VARSTORE_EC2_MAX);
    return base64_encode((struct bytes){file, store.len}, ret, err);
}
