/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_RECORD_H
#define MU_VOLUME_RECORD_H

#include <openssl/evp.h>

#include "base/ini.h"
#include "base/json.h"
#include "base/secret.h"
#include "base/signature.h"
#include "measure/baseline.h"

#define RECORD_TOKEN_TYPE "measured-unlock"
#define RECORD_SIGNATURE_CONTEXT "measured-unlock record 1"
#define RECORD_MADE_CONTEXT "measured-unlock record made by the instance 1"
#define RECORD_MAC_SIZE 48
#define RECORD_FORMAT 3
#define RECORD_BASELINES_MAX 8
#define VOLUME_IDENTITY_SIZE 48
#define UUID_TEXT_SIZE 37

/* Where the data of a volume lie, in bytes. The device may have grown since, and the volume with
 * it. */
struct volume_geometry {
    uint64_t data_offset, sector_size, device_size;
};

/* The enrolment record. On disk: a LUKS2 token
 *   {"type":"measured-unlock","keyslots":["N"],"record":"<base64 of payload>",
 *    "signature":"<base64>"}
 * whose payload is JSON with the members below and "format": 3, and whose signature is the image
 * builder's over "measured-unlock record 1" || 00 || payload. Signing the exact bytes needs no
 * canonical form.
 * The record of a volume that an instance made at its first boot (docs/guide/data-volumes.md) has
 * "mac" instead of "signature", HMAC-SHA-384 with the released key over "measured-unlock record
 * made by the instance 1" || 00 || payload, and no baselines. */
struct record {
    char created[21];                   /* "created": YYYY-MM-DDThh:mm:ssZ */
    int64_t version;                    /* "record_version": counts up; for rollback protection */
    char volume_name[INI_NAME_MAX + 1]; /* "volume_name": the [volume NAME] it is for */
    char volume_uuid[UUID_TEXT_SIZE];   /* "volume_uuid": LUKS2 header UUID, lower-case */
    uint8_t volume_identity[VOLUME_IDENTITY_SIZE]; /* "volume_identity": hex */
    struct volume_geometry geometry;               /* "data_offset", "sector_size", "device_size" */
    int keyslot;                                   /* "keyslot" */
    char provider[32];                             /* "provider" */
    json_object *provider_data;                    /* member named as the provider: its own data */
    size_t baselines; /* "baselines": array of baseline objects, any of which may match */
    struct pcr_values baseline[RECORD_BASELINES_MAX];
    bool by_instance; /* authentic only after record_check_mac() */
    struct buffer payload;
    uint8_t mac[RECORD_MAC_SIZE];
};
/* aws-kms data: release/kms_keys.h; tpm2 data: release/tpm2.h; vault data: release/vault.h. */

void record_free(struct record *record);

/* Sets `created` to the present time. MU_CONFIG if the clock shows no valid date. */
enum mu_status record_date(struct record *record, struct mu_error *err) MU_MUST_CHECK;

/* Reads a signed token from its JSON object; the signature is verified before the payload is
 * parsed. MU_REFUSE names what is invalid. */
enum mu_status record_parse_token(json_object *token, const struct public_keys *keys,
                                  struct record *ret, struct mu_error *err) MU_MUST_CHECK;
/* True for a token of an instance's record. */
bool record_token_by_instance(json_object *token);
/* Reads an instance's record, strictly parsed; do not trust it before record_check_mac(). */
enum mu_status record_parse_instance_token(json_object *token, struct record *ret,
                                           struct mu_error *err) MU_MUST_CHECK;
/* MU_REFUSE unless the record was written with knowledge of the released key. */
enum mu_status record_check_mac(const struct record *record, const struct secret *key,
                                struct mu_error *err) MU_MUST_CHECK;
/* Either kind without verifying, for `muctl record show` without a key. */
enum mu_status record_parse_token_unverified(json_object *token, struct record *ret,
                                             struct mu_error *err) MU_MUST_CHECK;
/* The record fits this volume: UUID, and version >= minimum. */
enum mu_status record_check(const struct record *record, const char *volume_uuid,
                            int64_t minimum_version, struct mu_error *err) MU_MUST_CHECK;
/* The volume was enrolled under this name, so that it cannot take another volume's place. */
enum mu_status record_check_name(const struct record *record, const char *name,
                                 struct mu_error *err) MU_MUST_CHECK;
/* The data lie where the record says, and the device has not become smaller. */
enum mu_status record_check_geometry(const struct record *record,
                                     const struct volume_geometry *found,
                                     struct mu_error *err) MU_MUST_CHECK;
/* A new object with the payload's members. */
enum mu_status record_to_json(const struct record *record, json_object **ret,
                              struct mu_error *err) MU_MUST_CHECK;
/* The token (JSON text) of an instance's record. */
enum mu_status record_make_instance_token(const struct record *record, const struct secret *key,
                                          char **ret, struct mu_error *err) MU_MUST_CHECK;
/* The payload as it is signed, borrowed from the object. MU_CONFIG if it could not be read
 * again. */
enum mu_status record_payload(const struct record *record, json_object **ret_payload,
                              struct bytes *ret, struct mu_error *err) MU_MUST_CHECK;
/* The token (JSON text) of a payload; `name` says what proves it: "signature" or "mac". */
enum mu_status record_token(const struct record *record, struct bytes payload, const char *name,
                            struct bytes proof, char **ret, struct mu_error *err) MU_MUST_CHECK;

#endif
