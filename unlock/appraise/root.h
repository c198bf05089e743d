/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_ROOT_H
#define MU_APPRAISE_ROOT_H

/* The one root of AWS's attestation documents in PEM, "AWS_NitroEnclaves_Root-G1": SHA-256 of its
 * DER 641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b, as the EC2 User Guide gives
 * it ("Validate a NitroTPM Attestation Document"). */
extern const char aws_nitro_root[];

#endif
