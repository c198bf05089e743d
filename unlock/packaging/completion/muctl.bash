# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for muctl and mu-verifier: verbs from its overview, options from each verb's --help; values of the options that have
# a list of them, and files else.

_muctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]-} second=${COMP_WORDS[2]-} words
    local overview option=${COMP_WORDS[COMP_CWORD - 1]}
    # --bank=sha is three words.
    [[ $cur == = ]] && cur=
    [[ $option == = ]] && option=${COMP_WORDS[COMP_CWORD - 2]}
    words=
    case $option in
        --bank) words="sha384 sha256" ;;
        --provider) words="aws-kms tpm2 vault" ;;
        --state) words="ok mismatch boot-overdue missing" ;;
        --phase) words="enter-initrd enter-initrd:leave-initrd" ;;
    esac
    if [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
        return
    fi
    overview=$("${COMP_WORDS[0]}" --help 2>/dev/null | sed -n 's/^  \([a-z]*\( [a-z][a-z]*\)\{0,1\}\)  .*/\1/p')
    if [[ $COMP_CWORD -eq 1 ]]; then
        words="$(cut -d' ' -f1 <<<"$overview" | sort -u) --help --version"
    elif [[ $COMP_CWORD -eq 2 && $cur != -* ]] && grep -q "^$verb " <<<"$overview"; then
        words=$(sed -n "s/^$verb //p" <<<"$overview")
    elif [[ $cur == -* ]]; then
        [[ $second != -* ]] && grep -q "^$verb $second\$" <<<"$overview" || second=
        # shellcheck disable=SC2086
        words="$("${COMP_WORDS[0]}" "$verb" $second --help 2>/dev/null | grep -o -- '--[a-zA-Z][a-zA-Z-]*' | sort -u)"
    else
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o default -F _muctl muctl mu-verifier
