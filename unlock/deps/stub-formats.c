/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdint.h>

/*
 * What libcryptsetup's setup.c calls for BitLocker, FileVault2, TrueCrypt, loop-AES and dm-verity
 * volumes: each is refused. Nothing here asks for one of these types; crypt_load() is always told
 * LUKS2.
 */

#define REFUSE(name)                                                                               \
    int name(void);                                                                                \
    int name(void)                                                                                 \
    {                                                                                              \
        return -ENOTSUP;                                                                           \
    }
#define NONE(name)                                                                                 \
    uint64_t name(void);                                                                           \
    uint64_t name(void)                                                                            \
    {                                                                                              \
        return 0;                                                                                  \
    }

REFUSE(BITLK_read_sb)
REFUSE(BITLK_dump)
REFUSE(BITLK_get_volume_key)
REFUSE(BITLK_activate_by_passphrase)
REFUSE(BITLK_activate_by_volume_key)
NONE(BITLK_bitlk_metadata_free)
NONE(BITLK_bitlk_fvek_free)
NONE(BITLK_bitlk_vmk_free)

REFUSE(FVAULT2_read_metadata)
REFUSE(FVAULT2_get_volume_key)
REFUSE(FVAULT2_dump)
REFUSE(FVAULT2_activate_by_passphrase)
REFUSE(FVAULT2_activate_by_volume_key)

REFUSE(LOOPAES_parse_keyfile)
REFUSE(LOOPAES_activate)

REFUSE(TCRYPT_read_phdr)
REFUSE(TCRYPT_init_by_name)
REFUSE(TCRYPT_activate)
REFUSE(TCRYPT_deactivate)
REFUSE(TCRYPT_get_volume_key)
REFUSE(TCRYPT_dump)
NONE(TCRYPT_get_data_offset)
NONE(TCRYPT_get_iv_offset)

REFUSE(VERITY_read_sb)
REFUSE(VERITY_write_sb)
REFUSE(VERITY_activate)
REFUSE(VERITY_verify_params)
REFUSE(VERITY_verify)
REFUSE(VERITY_create)
REFUSE(VERITY_FEC_process)
REFUSE(VERITY_UUID_generate)
REFUSE(VERITY_dump)
NONE(VERITY_hash_offset_block)
NONE(VERITY_hash_blocks)
NONE(VERITY_FEC_blocks)
NONE(VERITY_FEC_RS_blocks)
