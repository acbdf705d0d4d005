# Names of VMs, from the seriald that the line names.
function __seriald_vms
    set -l words (commandline -opc)
    set -l control
    if set -l at (contains -i -- --control $words)
        set control --control $words[(math $at + 1)]
    end
    $words[1] ls --ids $control 2>/dev/null
end

for taker in @TAKERS@
    complete -c seriald -n "__fish_seriald_using_subcommand $taker" -f -a "(__seriald_vms)"
end
