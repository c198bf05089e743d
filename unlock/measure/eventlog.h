/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_MEASURE_EVENTLOG_H
#define MU_MEASURE_EVENTLOG_H

#include "tpm/tpm.h"

/* PCR 11 as measured-unlock finds it: after systemd-pcrphase-initrd.service, which its unit waits
 * for. */
#define EVENTLOG_PHASES "enter-initrd"
/* PFP 3.3.4.5: the first event of PCR 4 */
#define EVENTLOG_BOOT_ACTION "Calling EFI Application from Boot Option"

/* TCG PC Client Platform Firmware Profile 1.05/1.06, 10.2: TCG_PCClientPCREvent (SHA-1) and
 * TCG_PCR_EVENT2 (crypto-agile) logs. */

#define EVENTLOG_MAX_BYTES (4u << 20)
#define EVENT_DIGESTS_MAX TPM_BANKS_MAX

/* The types that code looks for; event_type_name() knows them all (10.4.1). */
#define EV_NO_ACTION 0x03
#define EV_SEPARATOR 0x04
#define EV_IPL 0x0d
#define EV_EFI_VARIABLE_DRIVER_CONFIG 0x80000001
#define EV_EFI_VARIABLE_BOOT 0x80000002
#define EV_EFI_BOOT_SERVICES_APPLICATION 0x80000003
#define EV_EFI_RUNTIME_SERVICES_DRIVER 0x80000005
#define EV_EFI_ACTION 0x80000007
#define EV_EFI_HCRTM_EVENT 0x80000010
#define EV_EFI_VARIABLE_AUTHORITY 0x800000e0
/* Not of a firmware's log: see userlog.h. */
#define EV_USERSPACE 0xfffffffe

struct event_digest {
    uint16_t alg;
    struct bytes value;
};
struct event {
    size_t offset; /* of the event in the log */
    uint32_t pcr;
    uint32_t type;
    size_t digests;
    struct event_digest digest[EVENT_DIGESTS_MAX];
    struct bytes data;
};
struct eventlog {
    bool crypto_agile;
    struct buffer raw;       /* what the views above point into */
    struct buffer userspace; /* the same for the events that userlog_append added; it is called once
                                at most */
    size_t count;
    struct event *event;
};

/* Takes a copy of the log. MU_CONFIG with the offset for anything truncated or malformed. */
enum mu_status eventlog_parse(struct bytes log, struct eventlog *ret,
                              struct mu_error *err) MU_MUST_CHECK;
enum mu_status eventlog_load(const char *path, struct eventlog *ret,
                             struct mu_error *err) MU_MUST_CHECK;
void eventlog_free(struct eventlog *log);

/* "EV_EFI_ACTION", or "0x8000000a" for an unknown one (into `unknown`). */
const char *event_type_name(uint32_t type, char unknown[static 16]);
/* What a person can read: variable name, image path, command line, action text; one line of UTF-8
 * without control characters, shortened to len (>= 4) bytes. */
void event_describe(const struct event *event, char *to, size_t len);

/* PFP 10.2.6, UEFI_VARIABLE_DATA: the variable's name in UTF-16 and its content, both borrowed.
 * False if the event holds something else. */
bool event_variable(const struct event *event, struct bytes *ret_name, struct bytes *ret_data);
/* The name is this one, in which '#' stands for any character. */
bool event_variable_is(struct bytes utf16, const char *ascii);

/* True if the event is extended into that PCR: EV_NO_ACTION is not. */
bool event_extends(const struct event *event, unsigned pcr);
/* The event's digest in a bank; NULL if it has none. */
const uint8_t *event_digest_of(const struct event *event, enum hash_alg bank);
/* True for the StartupLocality event; *ret is then the locality. */
bool event_startup_locality(const struct event *event, uint8_t *ret);
/* The last byte of what PCR 0 begins with: 4 after an H-CRTM, else the locality of TPM2_Startup. */
uint8_t eventlog_pcr0_start(const struct eventlog *log);

/* The PCR values the log leads to in one bank, honouring EV_NO_ACTION and what PCR 0 begins with.
 * ret->mask has the PCRs that the log extends, except those with an event that has no digest of
 * that bank. MU_CONFIG if no PCR is left. */
enum mu_status eventlog_replay(const struct eventlog *log, enum hash_alg bank,
                               struct pcr_values *ret, struct mu_error *err) MU_MUST_CHECK;

#endif
