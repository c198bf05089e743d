# SPDX-License-Identifier: GPL-2.0-or-later
# fish completion for muctl and mu-verifier: verbs from its overview, options from each verb's --help; values of the options that have
# a list of them, and files else.

function __muctl_overview
    set -l before (commandline -opc)
    $before[1] --help 2>/dev/null | string match -rg '^  ([a-z]+(?: [a-z]+)?)  '
end

# Of "baseline predict ..." both words, of "pcr ..." one.
function __muctl_verb
    set -l words (commandline -opc) ''
    if contains -- "$words[2] $words[3]" (__muctl_overview)
        echo $words[2]\n$words[3]
    else
        echo $words[2]
    end
end

function __muctl_words
    set -l before (commandline -opc)
    set -l verb (__muctl_verb)
    if test (count $before) -eq 1
        __muctl_overview | string replace -r ' .*' '' | sort -u
        printf '%s\n' --help --version
    else if string match -q -- '-*' (commandline -ct)
        $before[1] $verb --help 2>/dev/null | string match -ra -- '--[a-zA-Z][a-zA-Z-]*' | sort -u
    else if test (count $before) -eq 2
        __muctl_overview | string match -rg "^$before[2] (.*)"
    end
end

# What follows an option that has a list of values is one of these and nothing else.
function __muctl_values
    switch (commandline -opc)[-1]
        case --bank
            printf '%s\n' sha384 sha256
        case --provider
            printf '%s\n' aws-kms tpm2 vault
        case --state
            printf '%s\n' ok mismatch boot-overdue missing
        case --phase
            printf '%s\n' enter-initrd enter-initrd:leave-initrd
        case '*'
            return 1
    end
end

# A verb, or the second word of one, is no file.
function __muctl_is_verb
    set -l before (commandline -opc)
    test (count $before) -eq 1; and return
    test (count $before) -eq 2; and __muctl_overview | string match -q "$before[2] *"
end

complete -c muctl -c mu-verifier -n __muctl_is_verb -f
complete -c muctl -c mu-verifier -n '__muctl_values >/dev/null' -f -a '(__muctl_values)'
complete -c muctl -c mu-verifier -n 'not __muctl_values >/dev/null' -a '(__muctl_words)'
