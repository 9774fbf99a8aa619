#compdef hookrun
# Completion of hookrun for zsh. Put it into a folder of $fpath as _hookrun, or:
#   source <(hookrun print completion zsh)
_hookrun() {
	local line
	local -a texts shown
	while IFS= read -r line; do
		texts+=("${line%%$'\t'*}")
		shown+=("${line/$'\t'/  -- }")
	done < <("${(Q)words[1]}" complete -shell zsh -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)
	if (( ${#texts} )); then
		compadd -V hookrun -l -d shown -a texts
	else
		_files
	fi
}
if [ "${funcstack[1]}" = _hookrun ]; then
	_hookrun "$@"
else
	compdef _hookrun hookrun
fi
