/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/ctl.h"

#include <stdio.h>

#include "base/signature.h"
#include "volume/record_admission.h"

#define TEXT_FLAGS                                                                                 \
    (JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)

static const char help[] =
    "Shows the enrolment record in the LUKS2 header of a volume, and whether its signature holds.\n"
    "Exit code 2 when it does not, or when the record is another volume's. The record of a volume\n"
    "that an instance made ('create = blank') has no signature: KMS's key authenticates it.\n"
    "\n"
    "  --key PEM   the image builder's public key; without it the signature is not checked\n"
    "  --json      report: the record's members, and \"ok\", \"made_by\", \"signature\", "
    "\"detail\"\n"
    "\n"
    "Example: muctl record show /dev/nvme1n1p2 --key /etc/measured-unlock/builder.pem\n";

enum { SIGNATURE_GOOD, SIGNATURE_BAD, SIGNATURE_NOT_CHECKED, SIGNATURE_NONE };
static const char *const words[] = {"good", "bad", "not-checked", "none"};

/* record NULL: there is no record to show. */
static enum mu_status print_json(const struct record *record, int signature,
                                 const struct mu_error *why, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;

    if (record != NULL)
        MU_TRY(record_to_json(record, &object, err));
    else
        object = json_object_new_object();
    if (!json_add(object, "ok", json_object_new_boolean(why->status == MU_OK)) ||
        (record != NULL &&
         !json_add_text(object, "made_by", record->by_instance ? "instance" : "builder")) ||
        !json_add_text(object, "signature", words[signature]) ||
        !json_add_text(object, "detail", why->text))
        return mu_oom(err);
    return cli_print_json("-", object, err);
}

static enum mu_status print_text(const struct record *record, int signature, struct mu_error *err)
{
    char identity[2 * VOLUME_IDENTITY_SIZE + 1];
    const struct volume_geometry *geometry = &record->geometry;
    char value[PCR_HEX_SIZE];

    if (record->provider_data == NULL)
        return mu_fail(err, MU_INTERNAL, "record without provider data");
    hex_encode((struct bytes){record->volume_identity, VOLUME_IDENTITY_SIZE}, identity);
    (void)printf("made by          %s\n"
                 "signature        %s\n"
                 "record version   %lld\n"
                 "created          %s\n"
                 "volume           %s\n"
                 "volume UUID      %s\n"
                 "volume identity  %s\n"
                 "data offset      %llu\n"
                 "sector size      %llu\n"
                 "device size      %llu\n"
                 "key slot         %d\n"
                 "provider         %s %s\n",
                 record->by_instance ? "the instance itself" : "the image builder",
                 words[signature], (long long)record->version, record->created, record->volume_name,
                 record->volume_uuid, identity, (unsigned long long)geometry->data_offset,
                 (unsigned long long)geometry->sector_size,
                 (unsigned long long)geometry->device_size, record->keyslot, record->provider,
                 json_object_to_json_string_ext(record->provider_data, TEXT_FLAGS));
    for (size_t i = 0; i < record->baselines; i++) {
        const struct pcr_values *baseline = &record->baseline[i];

        (void)printf("baseline %zu       %s\n", i + 1, hash_name(baseline->bank));
        for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
            pcr_hex(baseline, pcr, value);
            if (value[0] != '\0')
                (void)printf("  PCR %-2u         %s\n", pcr, value);
        }
    }
    return MU_OK;
}

/* The record as it stands, and in `why` what is wrong with it. */
static enum mu_status record_load(const char *device, const char *key_path, struct record *ret,
                                  int *ret_signature, struct mu_error *why, struct mu_error *err)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};
    MU_CLEANUP(string_free) char *path = NULL;
    MU_CLEANUP(public_keys_free) struct public_keys keys = {0};
    MU_CLEANUP(record_free) struct record record = {0};
    MU_CLEANUP(record_free) struct record verified = {0};
    json_object *token = NULL;
    int signature = SIGNATURE_NOT_CHECKED;

    if (key_path != NULL)
        MU_TRY(signature_load_keys(key_path, &keys, err));
    MU_TRY(ctl_device(device, &path, err));
    MU_TRY(luks_header_load(path, &header, err));
    MU_TRY(luks_header_record_token(&header, &token, err));
    MU_TRY(record_parse_token_unverified(token, &record, err));
    if (record.by_instance)
        signature = SIGNATURE_NONE;
    else if (keys.count > 0)
        signature = record_parse_token(token, &keys, &verified, why) == MU_OK ? SIGNATURE_GOOD
                                                                              : SIGNATURE_BAD;
    if (signature != SIGNATURE_BAD && volume_fits(&record, &header, 1, why) != MU_OK)
        (void)mu_context(why, "%s", device);
    *ret = MU_TAKE(record);
    *ret_signature = signature;
    return MU_OK;
}

static enum mu_status record_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(record_free) struct record record = {0};
    struct mu_error why = {0};
    const char *key = NULL;
    bool json = false;
    int signature = SIGNATURE_NOT_CHECKED;
    const struct cli_option options[] = {
        {"json", 'j', .flag = &json}, {"key", 'k', .text = &key}, {0}};

    MU_TRY(cli_options(argc, argv, options, 1, 1, err));
    if (record_load(argv[optind], key, &record, &signature, &why, err) != MU_OK) {
        why = *err;
        if (json)
            MU_TRY(print_json(NULL, signature, &why, err));
        return why.status;
    }
    if (json)
        MU_TRY(print_json(&record, signature, &why, err));
    else
        MU_TRY(print_text(&record, signature, err));
    if (why.status != MU_OK)
        *err = why;
    return why.status;
}

const struct verb verb_record_show = {
    .name = "record show",
    .synopsis = "DEVICE [--key PEM] [--json]",
    .summary = "the enrolment record of a volume, and whether its signature holds",
    .help = help,
    .run = record_run,
};
