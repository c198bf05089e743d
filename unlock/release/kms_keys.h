/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_KMS_KEYS_H
#define MU_RELEASE_KMS_KEYS_H

#include "volume/record.h"

/* The KMS keys of one volume, in the order in which they are asked once the key of the machine's
 * own region was. Each one alone releases the volume's key. Replicas of one multi-Region key have
 * one key material (AWS KMS Developer Guide, "Multi-Region keys in AWS KMS"), and so one
 * ciphertext. */

#define KMS_KEYS_MAX 16
#define KMS_ARN_MAX 2048
#define KMS_REGION_MAX 64
#define KMS_PARTITION_MAX 32

/* Region and partition out of arn:<partition>:kms:<region>:<account>:key/<id>; refuses aliases. */
enum mu_status kms_parse_key_arn(const char *arn, char ret_region[static KMS_REGION_MAX],
                                 char ret_partition[static KMS_PARTITION_MAX],
                                 struct mu_error *err) MU_MUST_CHECK;
/* True if both ARNs, which were parsed, name one multi-Region key in different regions. */
bool kms_is_replica(const char *arn, const char *other);

/* Texts are borrowed. */
struct kms_key {
    const char *arn, *ciphertext; /* base64 */
    char region[KMS_REGION_MAX];
};
struct kms_keys {
    struct kms_key key[KMS_KEYS_MAX];
    size_t count;
    json_object *encryption_context;
};

/* Adds the key at the end. MU_REFUSE unless it is the ARN of a key, in the partition of those
 * before, none of them, and there is room. */
enum mu_status kms_keys_add(struct kms_keys *keys, const char *arn,
                            struct mu_error *err) MU_MUST_CHECK;
/* The same for each of a configuration's list; *ret_text holds the ARNs, and is the caller's to
 * free. */
enum mu_status kms_keys_of_list(const char *list, char **ret_text, struct kms_keys *ret,
                                struct mu_error *err) MU_MUST_CHECK;
/* The first key with the material of key `i`: that one, or the replica that stands before it. */
size_t kms_keys_first(const struct kms_keys *keys, size_t i);

/* The data of aws-kms in a record (docs/develop/formats.md), with `ret` borrowing from them. The
 * encryption context is compared whole with the one that the record demands. MU_REFUSE. */
enum mu_status kms_keys_parse(const struct record *record, struct kms_keys *ret,
                              struct mu_error *err) MU_MUST_CHECK;
/* Puts them into the record, in place of what it has: each key has its ciphertext. */
enum mu_status kms_keys_describe(const struct kms_keys *keys, struct record *record,
                                 struct mu_error *err) MU_MUST_CHECK;

/* The encryption context of a volume's key: "volume-uuid" and "volume-identity", and for a volume
 * that an instance made "volume-name", "volume-geometry" and "made-by" as well. The builder's
 * record is signed; an instance's has KMS and its MAC alone. */
enum mu_status aws_kms_context(const struct record *record, json_object **ret,
                               struct mu_error *err) MU_MUST_CHECK;

#endif
