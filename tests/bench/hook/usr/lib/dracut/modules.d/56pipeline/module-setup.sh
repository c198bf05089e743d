#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# tests/bench/vm: the pipeline as a dracut module. Of Python and botocore it takes what one Decrypt needs and whatever
# lies beside it in the standard library, with bytecode: packages take more.
# shellcheck disable=SC2154 # moddir and initdir are dracut's

check() {
    return 0
}

depends() {
    echo dm systemd-networkd
}

installkernel() {
    hostonly='' instmods "=drivers/char/tpm" dm_crypt xts aes aes_generic aesni_intel aes_ce_blk virtio_net af_packet
}

install() {
    local data=/usr/lib/python3/dist-packages/botocore/data
    inst_multiple openssl cryptsetup python3 tpm2_pcrread tpm2_nvdefine tpm2_nvwrite tpm2_send tpm2_nvread tpm2_nvundefine \
        cat cmp dirname env head od sleep tail
    # The second one is what requests reads when it is imported.
    inst_multiple /etc/ssl/openssl.cnf /etc/ssl/certs/ca-certificates.crt
    inst_libdir_file "libtss2-tcti-device.so*" "ossl-modules/*.so"
    # shellcheck disable=SC2046 # names without blanks
    inst_multiple $(find /usr/lib/python3* \( -name test -o -name tests -o -path "$data" \) -prune -o -type f -print) \
        $(find "$data/kms" "$data"/*.json -type f)
    inst_multiple "$moddir"/../../../pipeline/*
    ln -sf ../usr/lib/pipeline/resolv.conf "$initdir/etc/resolv.conf"
    inst_simple "$moddir/pipeline.service" /usr/lib/systemd/system/pipeline.service
    inst_simple "$moddir/zzz-pipeline.network" /usr/lib/systemd/network/zzz-pipeline.network
    mkdir -p "$initdir/usr/lib/systemd/system/initrd.target.requires"
    ln -s ../pipeline.service "$initdir/usr/lib/systemd/system/initrd.target.requires/pipeline.service"
}
