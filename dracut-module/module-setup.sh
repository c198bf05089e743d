#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# dracut.modules(7). Sourced by dracut 049 and later; nothing here needs `set -e` or breaks under it.
# shellcheck disable=SC2154 # moddir and initdir are dracut's

mu_etc=/etc/measured-unlock
mu_lib=/usr/lib/measured-unlock
mu_ctl=/usr/bin/muctl

check() {
    local conf="${dracutsysrootdir-}$mu_etc/measured-unlock.conf"
    # Another module asks what it needs for the root that is mounted now: nothing from here.
    [[ ${mount_needs-} ]] && return 1
    # Configured: in every image. Asked for without a configuration: install() says what is missing.
    [[ -e $conf ]] || return 255
    mu_read_settings "$conf"
    mu_leave_out
    mu_require_modules
    return 0
}

depends() {
    local deps="dm rootfs-block" conf="${dracutsysrootdir-}$mu_etc/measured-unlock.conf"
    # systemd does the work of both. Up to 107 there is no initqueue module.
    if ! mu_is_included systemd; then
        mu_is_module securityfs && deps+=" securityfs"
        mu_is_module initqueue && deps+=" initqueue"
    fi
    # A key that is sealed to the TPM needs no network, and the boot none of its drivers and daemons.
    mu_network=true
    [[ ! -e $conf ]] || mu_read_settings "$conf"
    [[ $mu_network == false ]] || deps+=" $(mu_network)"
    # shellcheck disable=SC2086 # words
    echo $deps
    return 0
}

installkernel() {
    # Images are built on machines that have none of this: never host-only.
    hostonly='' instmods "=drivers/char/tpm" \
        dm_mod dm_crypt xts ecb aes aes_generic aesni_intel aes_ce_blk aes_neon_bs sha256 \
        nvme ena virtio_pci virtio_blk virtio_scsi virtio_net af_packet
}

install() {
    local conf="${dracutsysrootdir-}$mu_etc/measured-unlock.conf"
    mu_read_settings "$conf"
    mkdir -p "$initdir/etc/cmdline.d" "$initdir$mu_lib"
    mu_install_configuration
    mu_install_command_line
    mu_install_resolver

    inst_simple "$mu_lib/measured-unlock" || mu_die "$mu_lib/measured-unlock is missing"
    printf '%s\n' "$mu_settings" >"$initdir$mu_lib/settings"
    inst_multiple timeout sleep mkdir rm readlink poweroff reboot halt dmsetup modprobe ||
        mu_die "a program named above is missing"
    case $mu_fallback in
        passphrase) inst_multiple cryptsetup blkid || mu_die "fallback = passphrase needs cryptsetup" ;;
        shell) inst_multiple setsid sh || mu_die "fallback = shell needs setsid" ;;
    esac

    mu_install_networkd
    # networkd is started by our unit and needs none; rd.neednet would have the boot wait for it.
    [[ $mu_networkd == true || $mu_network == false ]] ||
        echo "rd.neednet=1" >"$initdir/etc/cmdline.d/51-measured-unlock.conf"
    echo "rd.luks=0 rd.auto=0 noresume rd.shell=0 rd.emergency=poweroff" \
        "rd.retry=$(mu_patience 86400)" >"$initdir/etc/cmdline.d/50-measured-unlock.conf"
    mu_install_parts
    if mu_is_included systemd; then
        mu_install_units
    else
        dracut_need_initqueue
        # Without it dracut says so in one line among hundreds, and succeeds.
        inst_multiple switch_root || mu_die "this image could not enter its root: it needs $(mu_program switch_root)"
    fi
}

# What the table has for this image; install() makes the rest itself.
mu_install_parts() {
    local when kind source path name stage init=plain
    mu_is_included systemd && init=systemd
    while read -r when kind source path _; do
        case $when in
            always | "$init") ;;
            networkd) [[ $mu_networkd == true ]] || continue ;;
            *) continue ;;
        esac
        name=${path##*/} stage=${path#hooks/}
        case $kind in
            script) inst_script "$moddir/$source" "/$path" ;;
            file) inst_simple "$moddir/$source" "/$path" ;;
            hook) inst_hook "${stage%/*}" "${name%%-*}" "$moddir/$source" ;;
            link) mkdir -p "$initdir/${path%/*}" && ln -sfn "$source" "$initdir/$path" ;;
        esac || mu_die "$path cannot be installed"
    done <"$moddir/parts"
}

mu_die() {
    dfatal "measured-unlock: $*"
    exit 1
}

# The configuration as the program reads it: mu_action, mu_volumes and the others of `muctl config`.
# shellcheck disable=SC2154,SC2034 # they come from there
mu_read_settings() { # CONF
    local muctl="${dracutsysrootdir-}$mu_ctl"
    [[ -x $muctl ]] || mu_die "$muctl is missing, which reads the configuration; install measured-unlock whole"
    mu_settings=$("$muctl" config "$1" 2>/dev/null) || mu_die "$("$muctl" config "$1" 2>&1)"
    eval "$mu_settings"
}

# Kernel modules that no dracut module may bring. Up to 112 the pattern is read when modules are copied, which is
# after the last check().
mu_leave_out() {
    local name
    for name in $mu_modules; do
        omit_drivers="${omit_drivers:+$omit_drivers|}^$name\$"
    done
}

# dracut leaves out a module whose dependency cannot be installed, says so in one line among hundreds, and succeeds:
# with an image that never unlocks. What depends() prints is read in a subshell, where nothing can end dracut.
mu_require_modules() {
    local name
    for name in $(depends); do
        [[ $dracutmodules == all ]] || add_dracutmodules+=" $name "
        check_module "$name" || mu_die "this image could not unlock: $(mu_why_not "$name")"
    done
}

# Why a dracut module cannot be installed. require_binaries is what modules tell dracut by that they need a program.
# shellcheck disable=SC2317,SC2034 # dracut calls and reads what is set here
mu_why_not() { # MODULE
    local missing
    if [[ " ${omit_dracutmodules-} " == *" $1 "* ]]; then
        echo "dracut is told to omit its module '$1'; take it out of omit_dracutmodules and --omit"
        return 0
    fi
    if ! mu_is_module "$1"; then
        echo "dracut has no module '$1'; install the package dracut-network"
        return 0
    fi
    missing=$(
        exec 3>&1 >/dev/null 2>&1
        require_binaries() {
            local program failed=0
            [[ $1 == -m ]] && shift 2
            for program; do
                find_binary "$program" && continue
                mu_program "$program" >&3
                failed=1
            done
            return "$failed"
        }
        require_any_binary() {
            local program
            [[ $1 == -m ]] && shift 2
            for program; do
                find_binary "$program" && return 0
            done
            mu_program "$1" >&3
            return 1
        }
        mods_checked_as_dep=
        check_module "$1"
    )
    missing=$(sort -u <<<"$missing" | paste -sd ',' | sed 's/,/, /g')
    echo "its module '$1' needs ${missing:-what dracut names above}, which is not installed"
}

# A program and the packages that have it, of Debian and of Fedora.
mu_program() {
    case $1 in
        pgrep) echo "$1 (package procps or procps-ng)" ;;
        dbus-* | busctl) echo "$1 (package dbus)" ;;
        NetworkManager | nm-*) echo "$1 (package network-manager or NetworkManager)" ;;
        dhclient) echo "$1 (package isc-dhcp-client or dhcp-client)" ;;
        arping | arping2) echo "$1 (package iputils-arping or iputils)" ;;
        ip) echo "$1 (package iproute2 or iproute)" ;;
        dmsetup) echo "$1 (package dmsetup or device-mapper)" ;;
        switch_root) echo "$1 (package util-linux, or util-linux-extra of Debian 14)" ;;
        *) echo "$1" ;;
    esac
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
    local module
    module=$(mu_network_included) && echo "$module" && return 0
    # What else it needs, mu_install_networkd brings.
    mu_is_included systemd && mu_has_networkd && echo kernel-network-modules && return 0
    module=network-legacy
    mu_is_included systemd && module=
    [[ -x ${dracutsysrootdir-}/usr/sbin/NetworkManager && $module ]] && module=network-manager
    [[ $module ]] && mu_is_module "$module" || module=
    # `network` takes what stands before it, and brings the others' net-lib.sh up to 059.
    echo "$module network"
}

mu_network_included() {
    local module
    for module in network-manager systemd-networkd connman network-legacy network-wicked; do
        mu_is_included "$module" && echo "$module" && return 0
    done
    return 1
}

mu_has_networkd() {
    [[ -x ${dracutsysrootdir-}${systemdutildir:-/usr/lib/systemd}/systemd-networkd ]]
}

# networkd without dracut's module for it, which has scripts run before udev starts, for what no machine of EC2 needs
# (`ip=`, roots on the network), and brings D-Bus up to 059 and bash in 106. mu_networkd: is it in the image?
mu_install_networkd() {
    local root="${dracutsysrootdir-}" etc=/etc/systemd lib=${systemdutildir:-/usr/lib/systemd} name line
    local units=${systemdsystemunitdir:-$lib/system}
    mu_networkd=false
    if mu_is_included systemd-networkd; then
        mu_networkd=true
        return 0
    fi
    [[ $mu_network == true ]] && mu_is_included systemd && mu_has_networkd && ! mu_network_included >/dev/null ||
        return 0
    inst_multiple "$lib/systemd-networkd" "$units/systemd-networkd.service" "$units/systemd-networkd.socket" ||
        mu_die "a part of systemd-networkd named above is missing"
    # Names of interfaces, as the unlocked system has them.
    inst_multiple -o "$lib/network/98-default-mac-none.link" "$lib/network/99-default.link"
    # In /usr/lib on systems that are updated as a whole.
    for name in /etc/passwd /etc/group; do
        line=$(grep -hs '^systemd-network:' "$initdir$name" "$root$name" "$root/usr/lib/${name##*/}" | head -n 1)
        [[ $line ]] ||
            mu_die "$name has no 'systemd-network', whom systemd-networkd runs as; systemd-sysusers makes it"
        grep -qs '^systemd-network:' "$initdir$name" || echo "$line" >>"$initdir$name"
    done
    # How the administrator has the network set up; not that another one does, with networkd masked.
    [[ ! ${hostonly-} ]] ||
        inst_multiple -H -o "$etc/network/*" "$etc/networkd.conf" "$etc/networkd.conf.d/*.conf" \
            "$etc/system/systemd-networkd.service.d/*.conf"
    mu_networkd=true
}

# Everything to the place where the configuration says it is.
mu_install_configuration() {
    local root="${dracutsysrootdir-}" baseline=$mu_baseline builder=$mu_builder_key ca=$mu_ca_file key name

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
    # Only the operator knows the authorities of a Vault and of its verifier.
    for key in vault_ca_file verifier_ca_file; do
        name=mu_$key
        ca=${!name}
        [[ ! $ca || $ca == "$mu_ca_file" ]] || inst_simple "$ca" || mu_die "$ca: ${key#vault_} in [vault] is missing"
    done
}

# The words of the table in the command line of a UKI that dracut makes, which is the one that is measured with it.
# Where --kernel-cmdline gives none, dracut takes what it finds in cmdline.d.
mu_install_command_line() {
    local word words=""
    [[ ${uefi-} == yes ]] || return 0
    for word in $mu_forbidden; do
        [[ " ${kernel_cmdline-} " == *[[:blank:]]"$word"[[:blank:]=]* ]] &&
            mu_die "kernel command line: take '$word' out; $moddir/doors says why"
    done
    for word in $mu_words; do
        [[ " ${kernel_cmdline-} " == *[[:blank:]]"$word"[[:blank:]]* ]] || words+=" $word"
    done
    [[ $words ]] || return 0
    dinfo "measured-unlock: added to the kernel command line:$words"
    if [[ ! ${kernel_cmdline-} && ${hostonly_cmdline-} == yes ]]; then
        echo "${words# }" >"$initdir/etc/cmdline.d/52-measured-unlock.conf"
    else
        kernel_cmdline="${kernel_cmdline:+$kernel_cmdline }${words# }"
    fi
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
mu_patience() { # FOREVER
    local patience=$1
    [[ $mu_fallback == none ]] && patience=$((mu_timeout + 90))
    echo "$patience"
}

mu_install_units() {
    local etc="$initdir/etc/systemd" unit patience
    patience=$(mu_patience infinity)
    mkdir -p "$etc/system/measured-unlock.service.d" "$etc/system.conf.d" "$etc/system-generators"
    printf '[Service]\nTimeoutStartSec=%s\n' "$patience" \
        >"$etc/system/measured-unlock.service.d/timeout.conf"
    # The root device appears when the program is done, not before its time is over.
    printf '[Manager]\nDefaultDeviceTimeoutSec=%s\n' "$patience" \
        >"$etc/system.conf.d/measured-unlock.conf"
    for unit in $mu_units; do
        ln -sfn /dev/null "$etc/system/$unit"
    done
    for unit in $mu_generators; do
        ln -sfn /dev/null "$etc/system-generators/$unit"
    done
}
