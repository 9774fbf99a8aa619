# Completion of hookrun for bash. Put it where bash-completion looks for it, or:
#   source <(hookrun print completion bash)
_hookrun() {
	local line
	COMPREPLY=()
	while IFS= read -r line; do
		COMPREPLY+=("$line")
	done < <("$1" complete -shell bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -o nosort -F _hookrun hookrun 2>/dev/null || complete -o default -F _hookrun hookrun
