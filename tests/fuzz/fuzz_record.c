/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The enrolment record. The input is a payload, which the target signs, as the builder and as an
 * instance, so that the fuzzer is behind signature and MAC; the same bytes are also read as a whole
 * token, and as a list of keys. */
#include "volume/record.h"

#include <stdio.h>
#include <string.h>

#include "build/signer.h"
#include "fuzz.h"
#include "release/kms_keys.h"

static int keyslot_of(struct bytes payload)
{
    MU_CLEANUP(json_free) json_object *object = NULL;
    struct mu_error err = {0};
    int64_t slot = 0;

    if (json_parse(payload, "payload", MU_REFUSE, &object, &err) != MU_OK ||
        json_integer(object, "keyslot", 0, 99, MU_REFUSE, &slot, &err) != MU_OK)
        return 0;
    return (int)slot;
}

static json_object *token_of(struct bytes payload, const char *name, struct bytes proof)
{
    MU_CLEANUP(string_free) char *payload64 = NULL;
    MU_CLEANUP(string_free) char *proof64 = NULL;
    json_object *token = json_object_new_object();
    json_object *slots = json_object_new_array();
    struct mu_error err = {0};
    char slot[16];

    (void)snprintf(slot, sizeof(slot), "%d", keyslot_of(payload));
    fuzz_require(
        base64_encode(payload, &payload64, &err) == MU_OK &&
            base64_encode(proof, &proof64, &err) == MU_OK &&
            json_object_array_add(slots, json_object_new_string(slot)) == 0 &&
            json_object_object_add(token, "type", json_object_new_string(RECORD_TOKEN_TYPE)) == 0 &&
            json_object_object_add(token, "keyslots", slots) == 0 &&
            json_object_object_add(token, "record", json_object_new_string(payload64)) == 0 &&
            json_object_object_add(token, name, json_object_new_string(proof64)) == 0,
        "a token is made");
    return token;
}

/* As `muctl enroll` writes it. */
static json_object *signed_token(struct bytes payload)
{
    MU_CLEANUP(buffer_free) struct buffer signature = {0};
    struct mu_error err = {0};

    fuzz_require(signing_sign(fuzz_builder_key(), RECORD_SIGNATURE_CONTEXT, payload, &signature,
                              &err) == MU_OK,
                 "a signature is made");
    return token_of(payload, "signature", buffer_view(&signature));
}

static json_object *parsed(const char *text)
{
    json_object *token = NULL;
    struct mu_error err = {0};

    fuzz_require(json_parse(text_view(text), "again", MU_REFUSE, &token, &err) == MU_OK,
                 "a token is JSON");
    return token;
}

/* What was read can be written, and says the same. */
static void round_trip(const struct record *record)
{
    MU_CLEANUP(json_free) json_object *token = NULL;
    MU_CLEANUP(record_free) struct record again = {0};
    MU_CLEANUP(string_free) char *text = NULL;
    struct mu_error err = {0};

    fuzz_require(signer_record_token(&(struct signer){.from = "", .key = fuzz_builder_key()},
                                     record, &text, &err) == MU_OK,
                 "it can be made");
    token = parsed(text);
    fuzz_require(record_parse_token(token, &(struct public_keys){{fuzz_builder_key()}, 1}, &again,
                                    &err) == MU_OK,
                 "and read again");
    fuzz_require(again.version == record->version && again.keyslot == record->keyslot &&
                     strcmp(again.volume_uuid, record->volume_uuid) == 0 &&
                     strcmp(again.volume_name, record->volume_name) == 0 &&
                     memcmp(&again.geometry, &record->geometry, sizeof(again.geometry)) == 0 &&
                     again.baselines == record->baselines,
                 "and says the same");
}

/* The data of aws-kms, whatever the record's provider is: what was read is written as it was. */
static void check_keys(const struct record *record)
{
    MU_CLEANUP(record_free) struct record again = *record;
    struct kms_keys keys = {0}, second = {0};
    struct mu_error err = {0};
    enum mu_status status = kms_keys_parse(record, &keys, &err);

    again.payload = (struct buffer){0};
    again.provider_data = NULL;
    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    if (status != MU_OK)
        return;
    fuzz_require(keys.count >= 1 && keys.count <= KMS_KEYS_MAX, "1 to 16 keys");
    for (size_t i = 0; i < keys.count; i++)
        fuzz_require(keys.key[i].ciphertext != NULL && kms_keys_first(&keys, i) <= i,
                     "each has a ciphertext");
    fuzz_require(kms_keys_describe(&keys, &again, &err) == MU_OK &&
                     json_object_equal(record->provider_data, again.provider_data),
                 "they are written as they were");
    fuzz_require(kms_keys_parse(&again, &second, &err) == MU_OK && second.count == keys.count,
                 "and read again");
}

/* As in a configuration. */
static void check_list(struct bytes input)
{
    MU_CLEANUP(string_free) char *list = strndup((const char *)input.data, input.len);
    MU_CLEANUP(string_free) char *text = NULL;
    struct kms_keys keys = {0};
    struct mu_error err = {0};

    fuzz_require(list != NULL, "memory");
    fuzz_outcome(kms_keys_of_list(list, &text, &keys, &err), &err, 1u << MU_REFUSE);
}

/* Its MAC holds with the released key, and with no other. */
static void made_by_instance(json_object *token)
{
    MU_CLEANUP(record_free) struct record record = {0};
    MU_CLEANUP(record_free) struct record again = {0};
    MU_CLEANUP(json_free) json_object *written = NULL;
    MU_CLEANUP(string_free) char *text = NULL;
    uint8_t bytes[32] = {1}, others[32] = {2};
    const struct secret key = {.data = bytes, .len = sizeof(bytes)};
    const struct secret other = {.data = others, .len = sizeof(others)};
    struct mu_error err = {0};
    enum mu_status status = record_parse_instance_token(token, &record, &err);

    fuzz_require(record_token_by_instance(token), "it says so");
    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    fuzz_require(record_parse_token(token, &(struct public_keys){{fuzz_builder_key()}, 1}, &again,
                                    &err) == MU_REFUSE,
                 "nobody takes it for the builder's");
    if (status != MU_OK)
        return;
    fuzz_require(record.baselines == 0 && record.by_instance, "it has no baselines");
    fuzz_require(record_check_mac(&record, &key, &err) == MU_REFUSE, "its MAC is checked");
    fuzz_require(record_make_instance_token(&record, &key, &text, &err) == MU_OK, "it can be made");
    written = parsed(text);
    fuzz_require(record_parse_instance_token(written, &again, &err) == MU_OK &&
                     record_check_mac(&again, &key, &err) == MU_OK,
                 "and read again");
    fuzz_require(record_check_mac(&again, &other, &err) == MU_REFUSE, "by who has the key");
    fuzz_require(again.version == record.version && again.keyslot == record.keyslot &&
                     strcmp(again.volume_uuid, record.volume_uuid) == 0 &&
                     strcmp(again.volume_name, record.volume_name) == 0 &&
                     memcmp(&again.geometry, &record.geometry, sizeof(again.geometry)) == 0,
                 "and says the same");
    check_keys(&record);
}

static void parse(json_object *token, bool is_signed)
{
    MU_CLEANUP(record_free) struct record record = {0};
    MU_CLEANUP(record_free) struct record unverified = {0};
    struct mu_error err = {0};
    enum mu_status status =
        record_parse_token(token, &(struct public_keys){{fuzz_builder_key()}, 1}, &record, &err);
    enum mu_status other;

    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    other = record_parse_token_unverified(token, &unverified, &err);
    fuzz_outcome(other, &err, 1u << MU_REFUSE);
    fuzz_require(!is_signed || status == other, "a signature that holds changes nothing");
    if (status != MU_OK)
        return;
    fuzz_require(record.baselines >= 1 && record.baselines <= RECORD_BASELINES_MAX, "baselines");
    fuzz_require(record.keyslot >= 0 && record.version >= 1, "key slot and version");
    fuzz_outcome(record_check(&record, "0b3a1c5e-7c1d-4d0f-9a52-5f0c8e6d1a77", 7, &err), &err,
                 1u << MU_REFUSE);
    fuzz_require(record_check_name(&record, record.volume_name, &err) == MU_OK &&
                     record_check_geometry(&record, &record.geometry, &err) == MU_OK,
                 "it fits its own volume");
    round_trip(&record);
    check_keys(&record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t no_mac[RECORD_MAC_SIZE];
    struct bytes input = {data, size};
    MU_CLEANUP(json_free) json_object *made = signed_token(input);
    MU_CLEANUP(json_free)
    json_object *by_instance = token_of(input, "mac", (struct bytes){no_mac, sizeof(no_mac)});
    MU_CLEANUP(json_free) json_object *token = NULL;
    struct mu_error err = {0};

    check_list(input);
    parse(made, true);
    made_by_instance(by_instance);
    if (json_parse(input, "token", MU_REFUSE, &token, &err) == MU_OK)
        parse(token, false);
    return 0;
}
