/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_INSTANCE_IDENTITY_H
#define MU_APPRAISE_INSTANCE_IDENTITY_H

#include "base/bytes.h"

#define IDENTITY_MAX_BYTES 16384

/* An EC2 instance identity document, in which AWS states the identity of an instance, in one of the
 * two forms that IMDS has below /latest/dynamic/instance-identity/ with an RSA signature (EC2 User
 * Guide, "Verify the instance identity document"). */
struct identity_evidence {
    struct bytes document;         /* "document", or "rsa2048" in PEM, base64 or DER */
    struct bytes signature;        /* "signature", base64; data NULL: the document is "rsa2048" */
    struct bytes certificates;     /* PEM, those of the document's region; empty: there are none */
    const char *certificates_name; /* for messages */
};

/* What the document says; all empty if the document cannot be read. Printable, without spaces. */
struct identity_facts {
    char instance_id[24];
    char account[13];
    char region[33]; /* fit for a file name */
    char instance_type[65];
    char image_id[65];
    char pending_time[33]; /* when the instance was last started */
};

/* The files that evidence is read from, and the path of the certificates. */
struct identity_files {
    struct buffer document, signature, certificates;
    char *certificates_path;
};
void identity_files_free(struct identity_files *files);
/* The evidence in the files, with the certificates of `path`: a file, or a folder with REGION.pem
 * for each region. Of a document that cannot be read, or whose region has no file there, there are
 * none: what region a document claims is not the configuration's fault, and what is missing is what
 * the verification refuses. */
enum mu_status identity_load(struct identity_files *files, const char *path,
                             struct identity_evidence *ret, struct mu_error *err) MU_MUST_CHECK;

/* Structure, encoding and the members above; nothing is verified yet, and no certificate needed.
 * MU_REFUSE names the rule. */
enum mu_status identity_read(const struct identity_evidence *evidence, struct identity_facts *ret,
                             struct mu_error *err) MU_MUST_CHECK;

/* The same, and that one of the certificates, unexpired at `at` (seconds since 1970), made the
 * signature: RSA with SHA-256, of at least 2048 bits in PKCS7, of at least 1024 as "signature",
 * which is all that AWS has there. MU_REFUSE; MU_CONFIG if the certificates are invalid. */
enum mu_status identity_verify(const struct identity_evidence *evidence, int64_t at, int *ret_bits,
                               struct mu_error *err) MU_MUST_CHECK;

#endif
