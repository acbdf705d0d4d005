# Names of VMs, from the seriald that the line names.
_seriald_vms() {
    local word control=()
    for ((word = 1; word < COMP_CWORD; word++)); do
        if [[ ${COMP_WORDS[word]} == --control ]]; then
            control=(--control "${COMP_WORDS[word + 1]}")
            [[ ${control[1]} == = ]] && control=(--control "${COMP_WORDS[word + 2]}")
        fi
    done
    "$1" ls --ids "${control[@]}" 2>/dev/null
}

_seriald_with_vms() {
    _seriald "$@"
    case "${COMP_WORDS[1]}" in
        @TAKERS@) ;;
        *) return 0 ;;
    esac
    # What follows an option is its value.
    [[ $2 == -* || $3 == -* || $3 == = ]] && return 0
    COMPREPLY=($(compgen -W "$(_seriald_vms "$1")" -- "$2"))
}

complete -F _seriald_with_vms -o bashdefault seriald
