
# Names of VMs, from the seriald that the line names.
(( $+functions[_seriald_vms] )) || _seriald_vms() {
    local -a control vms
    local at=${words[(I)--control]}
    (( at > 0 )) && control=(--control ${(Q)words[at + 1]})
    vms=(${(f)"$(seriald ls --ids $control 2>/dev/null)"})
    compadd -a vms
}
