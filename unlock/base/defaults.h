/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_DEFAULTS_H
#define MU_BASE_DEFAULTS_H

/* Values that apply unless a configuration or an option says otherwise. */

#define FENCE_FIRST 8u /* the PCRs that can be the fence */
#define FENCE_LAST 15u
#define FENCE_DEFAULT 15u

#define PROVIDER_AWS_KMS "aws-kms"
#define PROVIDER_DEFAULT PROVIDER_AWS_KMS
#define IMDS_DEFAULT_URL "http://169.254.169.254"

#define CONFIG_DEFAULT_PATH "/etc/measured-unlock/measured-unlock.conf"
#define BASELINE_DEFAULT_PATH "/etc/measured-unlock/baseline.json"
#define BUILDER_KEY_DEFAULT_PATH "/etc/measured-unlock/builder.pem"
#define CA_DEFAULT_PATH "/etc/measured-unlock/ca.pem" /* in an image: the Amazon roots */
#define REGION_CERTIFICATES_DEFAULT_PATH "/etc/measured-unlock/region-certificates"
#define REPORT_DEFAULT_PATH "/run/measured-unlock/report.json"
#define EVENTLOG_DEFAULT_PATH "/sys/kernel/security/tpm0/binary_bios_measurements"

#endif
