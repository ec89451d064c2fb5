# SPDX-License-Identifier: GPL-3.0-or-later
# Completion of pfs(1) for bash: commands, their options, and paths, from the current directory and
# from the root of the mount.

_pfs_commands="init mount umount repo branch commit log status diff show merge sync restore run
	rerun param metric runs why uses import export push pull cache stats doctor help version"

_pfs_mount_options="state= memory= disk= ro rw refresh= single_writer threads= max_nodes= placement=off
	allow_other dev suid noexec nonempty foreground"

# The options of a command.
_pfs_options() {
	case $1 in
	init) echo "--single-writer" ;;
	mount) echo "-f --foreground -o --options" ;;
	umount) echo "-f --force -l --lazy" ;;
	repo) echo "--chunk --branch --json --store" ;;
	branch) echo "--json --store" ;;
	commit) echo "-m --message -n --name --meta --author --json --store" ;;
	log) echo "-n --limit --oneline --json --store" ;;
	diff) echo "--stat --json --store" ;;
	status | show | stats) echo "--json --store" ;;
	merge) echo "--ours --theirs --into --json --store" ;;
	restore | sync) echo "--json" ;;
	run)
		echo "-n --name --out --param --group --log --memo --keep-going --mount --update --dry-run --force" \
			"--json"
		;;
	rerun) echo "--param --check --json --mount" ;;
	metric) echo "--step" ;;
	import)
		echo "-m --message -n --name --meta --author --keep --one-file-system --threads" \
			"-q --quiet --json --store"
		;;
	push | pull) echo "--all --as -n --dry-run -q --quiet --json --store" ;;
	runs) echo "--where --sort --columns -n --limit --json --csv --store" ;;
	why) echo "--json --dot --store" ;;
	uses) echo "--stale --json --store" ;;
	cache) echo "-q --quiet --json" ;;
	doctor) echo "-r --read-only --json" ;;
	export) echo "--threads -q --quiet --store" ;;
	esac
	echo "--help"
}

# Paths that start as $1 does, directories with a slash: of the current directory, and of the root of
# each mount.
_pfs_paths() {
	local cur=$1 root path
	local -a roots=("")

	if [[ $cur != [/.]* ]]; then
		while IFS= read -r root; do
			roots+=("$root/")
		done < <(findmnt -rno TARGET -t fuse.pfs 2>/dev/null)
	fi
	for root in "${roots[@]}"; do
		while IFS= read -r path; do
			[[ -d $path ]] && path+=/
			COMPREPLY+=("${path#"$root"}")
		done < <(compgen -f -- "$root$cur")
	done
	compopt -o filenames -o nospace 2>/dev/null
	# A single file is whole.
	if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} != */ ]]; then
		compopt +o nospace 2>/dev/null
	fi
}

_pfs_words() {
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_pfs() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}

	COMPREPLY=()
	if [[ $COMP_CWORD -eq 1 ]]; then
		_pfs_words "$_pfs_commands --help --version" "$cur"
		return
	fi
	case $command:$prev in
	mount:-o | mount:--options)
		_pfs_words "$_pfs_mount_options" "${cur##*,}"
		if [[ $cur == *,* ]]; then
			COMPREPLY=("${COMPREPLY[@]/#/${cur%,*},}")
		fi
		compopt -o nospace 2>/dev/null
		return
		;;
	commit:-n | run:-n | runs:-n | import:-n | log:-n | push:--as | pull:--as | *:-m | *:--message | \
		*:--name | *:--meta | *:--param | *:--group | *:--step | *:--author | *:--limit | \
		*:--where | *:--sort | *:--columns | *:--chunk | *:--branch | *:--threads)
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		_pfs_words "$(_pfs_options "$command")" "$cur"
		return
	fi
	if [[ $COMP_CWORD -eq 2 ]]; then
		case $command in
		help) _pfs_words "$_pfs_commands" "$cur" ;;
		repo) _pfs_words "list create show set remove" "$cur" ;;
		branch) _pfs_words "list create rename remove" "$cur" ;;
		cache) _pfs_words "warm status" "$cur" ;;
		runs) _pfs_words "show diff" "$cur" ;;
		esac
	fi
	# Bash takes `=` for a word.
	if [[ $command == repo && ${COMP_WORDS[2]} == set && $COMP_CWORD -gt 3 ]]; then
		case $prev$cur in
		autocommit=) _pfs_words "off idle= every=" "" ;;
		=*) [[ ${COMP_WORDS[COMP_CWORD - 2]} == autocommit ]] && _pfs_words "off idle= every=" "$cur" ;;
		*) _pfs_words "autocommit= chunk= default-branch= mode=" "$cur" ;;
		esac
		compopt -o nospace 2>/dev/null
		return
	fi
	case $command in
	help | version | param | metric | rerun) ;;
	repo | cache) [[ $COMP_CWORD -gt 2 ]] && _pfs_paths "$cur" ;;
	*) _pfs_paths "$cur" ;;
	esac
}

complete -F _pfs pfs
