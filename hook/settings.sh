# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
# Sourced. What the scripts around measured-unlock need to know of measured-unlock.conf; the program
# itself is the one that validates the file. Subshells, so that no name is left behind.
# shellcheck disable=SC2030,SC2031 # each has its own names

# mu_setting FILE SECTION KEY DEFAULT
mu_setting() (
    section=
    value=$4
    while read -r line || [ -n "$line" ]; do
        case $line in
            '#'*) ;;
            '['*']') section=$(mu_trim "${line#?}") section=$(mu_trim "${section%]}") ;;
            *=*)
                [ "$section" = "$2" ] && [ "$(mu_trim "${line%%=*}")" = "$3" ] &&
                    value=$(mu_trim "${line#*=}")
                ;;
        esac
    done <"$1"
    printf '%s\n' "$value"
)

# mu_volumes FILE: one line "MAPPING DEVICE" a volume. A name holds no blank, a device may.
# shellcheck disable=SC2094 # it is only read
mu_volumes() (
    while read -r line || [ -n "$line" ]; do
        case $line in
            '['*']') section=$(mu_trim "${line#?}") section=$(mu_trim "${section%]}") ;;
            *) continue ;;
        esac
        case $section in
            'volume '*)
                printf '%s %s\n' "$(mu_setting "$1" "$section" mapping "${section#volume }")" \
                    "$(mu_setting "$1" "$section" device '')"
                ;;
        esac
    done <"$1"
)

# mu_providers FILE: what releases the keys, one line a volume.
# shellcheck disable=SC2094 # it is only read
mu_providers() (
    while read -r line || [ -n "$line" ]; do
        case $line in
            '['*']') section=$(mu_trim "${line#?}") section=$(mu_trim "${section%]}") ;;
            *) continue ;;
        esac
        case $section in
            'volume '*) mu_setting "$1" "$section" provider aws-kms ;;
        esac
    done <"$1"
)

# mu_needs_network FILE: fails if the TPM alone releases every key.
mu_needs_network() (
    for provider in $(mu_providers "$1"); do
        [ "$provider" = tpm2 ] || exit 0
    done
    exit 1
)

# mu_timeout FILE: seconds that measured-unlock gives itself.
mu_timeout() (
    seconds=$(mu_setting "$1" boot timeout 120)
    case $seconds in
        '' | 0* | *[!0-9]* | ?????*) seconds=120 ;;
    esac
    printf '%s\n' "$seconds"
)

mu_trim() (
    text=${1#"${1%%[![:blank:]]*}"}
    printf '%s\n' "${text%"${text##*[![:blank:]]}"}"
)
