#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# dracut.modules(7). Sourced by dracut 049 and later; nothing here needs `set -e` or breaks under it.
# shellcheck disable=SC2154 # moddir and initdir are dracut's

mu_etc=/etc/measured-unlock
mu_lib=/usr/lib/measured-unlock

# Generators that read the kernel command line or the disks, and would ask for a passphrase, open a
# shell or resume an image from a disk while the fence is open. /proc/cmdline overrides cmdline.d.
mu_generators="systemd-cryptsetup-generator systemd-gpt-auto-generator systemd-debug-generator
    systemd-run-generator systemd-getty-generator systemd-ssh-generator
    systemd-hibernate-resume-generator"

check() {
    # Another module asks what it needs for the root that is mounted now: nothing from here.
    [[ ${mount_needs-} ]] && return 1
    # Configured: in every image. Asked for without a configuration: install() says what is missing.
    [[ -e ${dracutsysrootdir-}$mu_etc/measured-unlock.conf ]] && return 0
    return 255
}

depends() {
    local deps="dm"
    # systemd does the work of both. Up to 107 there is no initqueue module.
    if ! mu_is_included systemd; then
        mu_is_module securityfs && deps+=" securityfs"
        mu_is_module initqueue && deps+=" initqueue"
    fi
    # shellcheck disable=SC2046 # words
    echo "$deps" $(mu_network)
    return 0
}

installkernel() {
    # Images are built on machines that have none of this: never host-only.
    hostonly='' instmods "=drivers/char/tpm" \
        dm_mod dm_crypt xts aes aes_generic aesni_intel aes_ce_blk aes_neon_bs sha256 \
        nvme ena virtio_pci virtio_blk virtio_scsi virtio_net af_packet
}

install() {
    local conf="${dracutsysrootdir-}$mu_etc/measured-unlock.conf" hook
    # shellcheck source=../hook/settings.sh
    . "$moddir/settings.sh"
    mkdir -p "$initdir/etc/cmdline.d"
    mu_install_configuration "$conf"
    mu_install_resolver

    inst_simple "$mu_lib/measured-unlock" || mu_die "$mu_lib/measured-unlock is missing"
    inst_simple "$moddir/settings.sh" "$mu_lib/settings.sh"
    for hook in supervise refuse passphrase check-root wait-unlocked; do
        inst_script "$moddir/$hook" "$mu_lib/$hook"
    done
    inst_multiple timeout sleep mkdir rm readlink poweroff reboot halt ||
        mu_die "a program named above is missing"
    case $(mu_setting "$conf" boot fallback none) in
        passphrase) inst_multiple cryptsetup blkid || mu_die "fallback = passphrase needs cryptsetup" ;;
        shell) inst_multiple setsid sh || mu_die "fallback = shell needs setsid" ;;
    esac

    # networkd is started by our unit and needs none; rd.neednet would have the boot wait for it.
    mu_is_included systemd-networkd || ! mu_needs_network "$conf" ||
        echo "rd.neednet=1" >"$initdir/etc/cmdline.d/51-measured-unlock.conf"
    echo "rd.luks=0 rd.auto=0 noresume rd.shell=0 rd.emergency=poweroff" \
        "rd.retry=$(mu_patience "$conf" 86400)" >"$initdir/etc/cmdline.d/50-measured-unlock.conf"
    inst_hook cmdline 95 "$moddir/cmdline.sh"
    inst_hook emergency 00 "$moddir/emergency.sh"
    inst_hook initqueue/settled 99 "$moddir/settled.sh"
    inst_hook pre-pivot 00 "$moddir/pre-pivot.sh"
    if mu_is_included systemd; then
        mu_install_units "$conf"
    else
        inst_hook pre-trigger 90 "$moddir/pre-trigger.sh"
        inst_hook initqueue/finished 90 "$moddir/finished.sh"
        inst_hook pre-mount 00 "$moddir/pre-mount.sh"
        dracut_need_initqueue
    fi
}

mu_die() {
    dfatal "measured-unlock: $*"
    exit 1
}

mu_is_module() {
    local path
    if declare -F dracut_module_path >/dev/null; then # not in 049
        path=$(dracut_module_path "$1") || return 1
        [[ -d $path ]]
    else
        compgen -G "${dracutbasedir:?}/modules.d/[0-9][0-9]$1" >/dev/null
    fi
}

mu_is_included() {
    dracut_module_included "$1"
}

# Whichever network module the image has already. Else networkd where systemd runs, and what does
# without systemd where it does not: the choice of dracut's own `network` looks at the host instead.
mu_network() {
    local module root="${dracutsysrootdir-}"
    for module in network-manager systemd-networkd connman network-legacy network-wicked; do
        if mu_is_included "$module"; then
            echo "$module"
            return 0
        fi
    done
    if mu_is_included systemd; then
        module=systemd-networkd
        [[ -x $root${systemdutildir:-/usr/lib/systemd}/systemd-networkd ]] || module=
    else
        module=network-legacy
        [[ -x $root/usr/sbin/NetworkManager ]] && module=network-manager
    fi
    [[ $module ]] && mu_is_module "$module" || module=
    # `network` takes what stands before it, and brings the others' net-lib.sh up to 059.
    case $module in
        systemd-networkd) echo "$module" ;;
        *) echo "$module network" ;;
    esac
}

# Everything to the place where the configuration says it is.
mu_install_configuration() {
    local conf=$1 root="${dracutsysrootdir-}" baseline builder ca
    [[ -s $conf && -r $conf ]] || mu_die "$mu_etc/measured-unlock.conf: missing, empty or unreadable"
    [[ $(mu_volumes "$conf") ]] || mu_die "$mu_etc/measured-unlock.conf: no [volume NAME] section"
    baseline=$(mu_setting "$conf" boot baseline "$mu_etc/baseline.json")
    builder=$(mu_setting "$conf" boot builder_key "$mu_etc/builder.pem")
    ca=$(mu_setting "$conf" aws ca_file "$mu_etc/ca.pem")

    [[ -s $root$baseline && -r $root$baseline ]] ||
        mu_die "$baseline: the baked baseline is missing or empty; see 'muctl baseline'"
    grep -q '"Measurements"' "$root$baseline" || mu_die "$baseline: not a baseline"
    [[ -s $root$builder && -r $root$builder ]] ||
        mu_die "$builder: the builder's public key is missing or empty"
    grep -q 'PRIVATE KEY' "$root$builder" &&
        mu_die "$builder: holds a private key, which must not be in an image"
    grep -q 'BEGIN PUBLIC KEY' "$root$builder" || mu_die "$builder: not a public key in PEM"
    inst_simple "$mu_etc/measured-unlock.conf"
    inst_simple "$baseline"
    inst_simple "$builder"
    if [[ -e $root$ca ]]; then
        inst_simple "$ca"
    else
        inst_simple /usr/share/measured-unlock/amazon-roots.pem "$ca" ||
            mu_die "$ca and the Amazon roots are both missing"
    fi
    case " $(mu_providers "$conf" | tr '\n' ' ') " in
        *" vault "*) mu_install_vault_roots "$conf" "$ca" ;;
    esac
}

# Whom a Vault and its verifier are certified by, nobody but the operator knows.
mu_install_vault_roots() { # CONF INSTALLED
    local key ca
    for key in ca_file verifier_ca_file; do
        ca=$(mu_setting "$1" vault "$key" "$mu_etc/ca.pem")
        [[ $ca == "$2" ]] || inst_simple "$ca" || mu_die "$ca: $key in [vault] is missing"
    done
}

# A static glibc reads resolv.conf and nothing else. networkd without resolved writes none; the
# resolver of a VPC has this address in every VPC. DHCP clients that write the file replace it.
mu_install_resolver() {
    local own="$mu_etc/resolv.conf"
    [[ -e $initdir/etc/resolv.conf || -L $initdir/etc/resolv.conf ]] && return 0
    if mu_is_included systemd-resolved; then
        ln -s ../run/systemd/resolve/resolv.conf "$initdir/etc/resolv.conf"
    elif [[ -e ${dracutsysrootdir-}$own ]]; then
        inst_simple "${dracutsysrootdir-}$own" /etc/resolv.conf
    else
        printf '%s\n' "nameserver 169.254.169.253" "options timeout:1 attempts:5" \
            >"$initdir/etc/resolv.conf"
    fi
}

# Seconds until others may give up: the program's time, supervise's grace, the fence. A person who
# types a passphrase or uses a shell has all the time there is.
mu_patience() { # CONF FOREVER
    local patience=$2
    [[ $(mu_setting "$1" boot fallback none) == none ]] && patience=$(($(mu_timeout "$1") + 90))
    echo "$patience"
}

mu_install_units() {
    local conf=$1 units="${systemdsystemunitdir:?}" etc="$initdir/etc/systemd" unit patience
    patience=$(mu_patience "$conf" infinity)

    for unit in measured-unlock.service measured-unlock-root.service measured-unlock-refused.service; do
        inst_simple "$moddir/$unit" "$units/$unit"
    done
    mkdir -p "$etc/system/measured-unlock.service.d" "$etc/system.conf.d" "$etc/system-generators" \
        "$initdir$units/initrd.target.requires" "$initdir$units/initrd-root-fs.target.requires"
    printf '[Service]\nTimeoutStartSec=%s\n' "$patience" \
        >"$etc/system/measured-unlock.service.d/timeout.conf"
    # The root device appears when the program is done, not before its time is over.
    printf '[Manager]\nDefaultDeviceTimeoutSec=%s\n' "$patience" \
        >"$etc/system.conf.d/measured-unlock.conf"
    ln -sfn ../measured-unlock.service "$initdir$units/initrd.target.requires/"
    ln -sfn ../measured-unlock-root.service "$initdir$units/initrd-root-fs.target.requires/"
    inst_simple "$moddir/sysroot.conf" "/etc/systemd/system/sysroot.mount.d/measured-unlock.conf"
    for unit in emergency.service rescue.service dracut-emergency.service; do
        inst_simple "$moddir/refuse.conf" "/etc/systemd/system/$unit.d/measured-unlock.conf"
    done
    ln -sfn /dev/null "$etc/system/debug-shell.service"
    for unit in $mu_generators; do
        ln -sfn /dev/null "$etc/system-generators/$unit"
    done
    if mu_is_included systemd-networkd; then
        inst_simple "$moddir/zzz-measured-unlock.network" \
            /usr/lib/systemd/network/zzz-measured-unlock.network
    fi
}
