/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The LUKS2 header and its policy. An input that begins with '{' is the JSON area: the target puts
 * two sound binary headers around it. Any other input alters a sound header:
 *   flags, then (offset: be24, length: u8, bytes)...
 * bit 0 of the flags has the checksums made again, bit 1 puts each alteration into both copies, bit
 * 2 cuts the device off at the offset that comes first. */
#include "volume/luks_header.h"

#include <string.h>

#include "fuzz.h"

#define BINARY 4096u
#define HEADER 16384u
#define HEADER_MAX (1u << 18)
#define DEVICE (2u << 20)
#define SUM_AGAIN 1u
#define BOTH_COPIES 2u
#define CUT 4u

static const char sound[] =
    "{\"keyslots\":{\"0\":{\"type\":\"luks2\",\"key_size\":64,\"af\":{\"type\":\"luks1\","
    "\"stripes\":4000,\"hash\":\"sha256\"},\"area\":{\"type\":\"raw\",\"offset\":\"32768\","
    "\"size\":\"258048\",\"encryption\":\"aes-xts-plain64\",\"key_size\":64},\"kdf\":{\"type\":"
    "\"pbkdf2\",\"hash\":\"sha256\",\"iterations\":1000,\"salt\":"
    "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"}}},\"tokens\":{\"0\":{\"type\":"
    "\"measured-unlock\",\"keyslots\":[\"0\"],\"record\":\"AAAA\",\"signature\":\"AAAA\"}},"
    "\"segments\":{\"0\":{\"type\":\"crypt\",\"offset\":\"1064960\",\"size\":\"dynamic\","
    "\"iv_tweak\":\"0\",\"encryption\":\"aes-xts-plain64\",\"sector_size\":512}},\"digests\":{"
    "\"0\":"
    "{\"type\":\"pbkdf2\",\"keyslots\":[\"0\"],\"segments\":[\"0\"],\"hash\":\"sha256\","
    "\"iterations\":1000,\"salt\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\",\"digest\":"
    "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"}},\"config\":{\"json_size\":\"12288\","
    "\"keyslots_size\":\"1032192\"}}";

/* LUKS2 On-Disk Format Specification, 2.1 */
static void binary_header(uint8_t *to, const char *magic, uint64_t size, uint64_t offset)
{
    struct writer w = writer_into(to, BINARY);

    writer_bytes(&w, (struct bytes){(const uint8_t *)magic, 6});
    writer_be16(&w, 2);
    writer_be32(&w, 0);
    writer_be32(&w, (uint32_t)size);
    memcpy(to + 72, "sha256", 6);
    memcpy(to + 168, "0b3a1c5e-7c1d-4d0f-9a52-5f0c8e6d1a77", 36);
    w = writer_into(to + 260, 4);
    writer_be32(&w, (uint32_t)offset);
}

static void sum(uint8_t *copy, size_t size)
{
    memset(copy + 448, 0, 64);
    fuzz_require(EVP_Digest(copy, size, copy + 448, NULL, EVP_sha256(), NULL) == 1, "SHA-256");
}

/* Both copies, `size` bytes each, around the JSON text. */
static void put_copies(uint8_t *device, size_t size, struct bytes json)
{
    static const char *const magic[] = {"LUKS\xba\xbe", "SKUL\xba\xbe"};

    memset(device, 0, 2 * size);
    for (size_t i = 0; i < 2; i++) {
        binary_header(device + i * size, magic[i], size, i * size);
        memcpy(device + i * size + BINARY, json.data, json.len);
        sum(device + i * size, size);
    }
}

static size_t be24(struct reader *r)
{
    size_t high = reader_u8(r);

    return high << 16 | reader_be16(r);
}

/* Returns where the device ends. */
static size_t alter(uint8_t *device, struct reader *r)
{
    uint8_t flags = reader_u8(r);
    size_t end = DEVICE;

    if ((flags & CUT) != 0)
        end = be24(r);
    while (reader_left(r) > 4) {
        size_t offset = be24(r);
        struct bytes bytes = fuzz_take(r, reader_u8(r));

        for (size_t i = 0; i < ((flags & BOTH_COPIES) != 0 ? 2u : 1u); i++)
            if (offset + i * HEADER + bytes.len <= 2 * HEADER)
                memcpy(device + offset + i * HEADER, bytes.data, bytes.len);
    }
    for (size_t i = 0; i < 2 && (flags & SUM_AGAIN) != 0; i++)
        sum(device + i * HEADER, HEADER);
    return end < DEVICE ? end : DEVICE;
}

static void report_holds(const struct header_report *report, enum mu_status status)
{
    bool all = true;

    for (size_t i = 0; i < report->count; i++) {
        const struct header_rule *rule = &report->rule[i];

        all = all && rule->ok;
        for (const char *c = rule->detail; *c != '\0'; c++)
            fuzz_require(*c >= 0x20 && *c < 0x7f, "details are printable");
    }
    fuzz_require(all == (status == MU_OK), "the report says the same");
}

static void check(const char *path)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {.memfd = -1};
    struct header_report report;
    json_object *token = NULL;
    struct mu_error err = {0};
    enum mu_status status = luks_header_load(path, &header, &err);

    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    if (status != MU_OK)
        return;
    status = luks_header_check(&header, &report, &err);
    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    report_holds(&report, status);
    fuzz_outcome(luks_header_check(&header, NULL, &err), &err, 1u << MU_REFUSE);
    if (status != MU_OK)
        return;
    fuzz_outcome(luks_header_record_token(&header, &token, &err), &err, 1u << MU_REFUSE);
    fuzz_outcome(luks_header_load_keyslot(&header, 31, &err), &err, 1u << MU_REFUSE);
    fuzz_outcome(luks_header_load_keyslot(&header, 0, &err), &err, 1u << MU_REFUSE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t device[2 * HEADER_MAX];
    struct reader r = reader_of((struct bytes){data, size});
    struct bytes json = {(const uint8_t *)sound, sizeof(sound) - 1};
    size_t copy = HEADER, end = DEVICE;
    char path[FUZZ_PATH_SIZE];

    if (size > 0 && data[0] == '{') {
        json = (struct bytes){data, size};
        while (copy - BINARY < json.len && copy < HEADER_MAX)
            copy *= 2;
        if (json.len > copy - BINARY)
            return -1;
        put_copies(device, copy, json);
    } else {
        put_copies(device, copy, json);
        end = alter(device, &r);
    }
    fuzz_file((struct bytes){device, 2 * copy}, end, path);
    check(path);
    return 0;
}
