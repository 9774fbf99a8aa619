# Completion of hookrun for fish. Put it into ~/.config/fish/completions/hookrun.fish, or:
#   hookrun print completion fish | source
function __hookrun_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    set -e words[1]
    set -l now (commandline -ct)
    set -l found ($program complete -shell fish -- $words "$now" 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path "$now"
    end
end
complete -c hookrun -f -k -a '(__hookrun_complete)'
