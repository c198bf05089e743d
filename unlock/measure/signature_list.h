/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_MEASURE_SIGNATURE_LIST_H
#define MU_MEASURE_SIGNATURE_LIST_H

#include "base/text.h"

#define EFI_GUID_BYTES 16
/* aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee as bytes (UEFI 2.10, appendix A). */
#define EFI_GUID(a, b, c, d, e)                                                                    \
    {                                                                                              \
        (uint8_t)(a), (uint8_t)((a) >> 8), (uint8_t)((a) >> 16), (uint8_t)((a) >> 24),             \
            (uint8_t)(b), (uint8_t)((b) >> 8), (uint8_t)(c), (uint8_t)((c) >> 8),                  \
            (uint8_t)((d) >> 8), (uint8_t)(d), (uint8_t)((e) >> 40), (uint8_t)((e) >> 32),         \
            (uint8_t)((e) >> 24), (uint8_t)((e) >> 16), (uint8_t)((e) >> 8), (uint8_t)(e)          \
    }

/* EFI_SIGNATURE_LISTs (UEFI 2.10, 32.4.1): the contents of Secure Boot's variables. */

/* One EFI_SIGNATURE_DATA, and a position in the lists. */
struct signature {
    struct bytes type;
    struct bytes entry; /* owner and data: what is measured */
    struct bytes data;
};

struct signature_lists {
    struct reader lists, list;
    struct bytes type;
    uint32_t size;
    bool malformed;
};

struct signature_lists signature_list_of(struct bytes lists);
/* False at the end, and if the lists are malformed. */
bool signature_list_next(struct signature_lists *at, struct signature *ret);
bool signature_is_certificate(const struct signature *signature);
bool signature_lists_valid(struct bytes lists);

/* Appends the EFI_SIGNATURE_LIST of one X.509 certificate (DER), whose owner is in EFI's byte
 * order.
 */
void signature_list_write(struct writer *to, struct bytes certificate,
                          const uint8_t owner[static EFI_GUID_BYTES]);

/* "2 certificates, 77 digests" for signature lists; "certificate CN=..." for one entry, with its
 * owner before it or, as shim has it, without. False if it is neither; nothing was appended
 * then. */
bool signature_list_describe(struct text *text, struct bytes lists);
bool signature_list_describe_entry(struct text *text, struct bytes entry);

#endif
