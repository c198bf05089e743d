#compdef muctl mu-verifier
# SPDX-License-Identifier: GPL-2.0-or-later
# zsh completion for muctl and mu-verifier: verbs from its overview, options from each verb's --help; values of the options that have
# a list of them, and files else.

_muctl() {
    local cur=$words[CURRENT] verb=$words[2] second=$words[3]
    local -a overview
    case $words[CURRENT-1] in
        --bank) compadd -- sha384 sha256; return ;;
        --provider) compadd -- aws-kms tpm2 vault; return ;;
        --state) compadd -- ok mismatch boot-overdue missing; return ;;
        --phase) compadd -- enter-initrd enter-initrd:leave-initrd; return ;;
    esac
    overview=(${(f)"$($words[1] --help 2>/dev/null | sed -n 's/^  \([a-z]*\( [a-z][a-z]*\)\{0,1\}\)  .*/\1/p')"})
    if (( CURRENT == 2 )); then
        compadd -- ${(u)overview%% *} --help --version
    elif [[ $CURRENT -eq 3 && $cur != -* && -n ${(M)overview:#$verb *} ]]; then
        compadd -- ${${(M)overview:#$verb *}#* }
    elif [[ $cur == -* ]]; then
        [[ -n ${(M)overview:#$verb $second} ]] || second=
        compadd -- ${(fu)"$($words[1] $verb $second --help 2>/dev/null | grep -o -- '--[a-zA-Z][a-zA-Z-]*')"}
    else
        _files
    fi
}

_muctl "$@"
