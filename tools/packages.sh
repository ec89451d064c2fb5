# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# For tools/quickstart and tools/check: what of Debian's packages is needed, and getting it.

# shellcheck disable=SC2034 # used by who sources this
pfs_build_packages=(gcc libc6-dev meson ninja-build pkg-config libssl-dev libzstd-dev libxxhash-dev
	liblmdb-dev libjansson-dev libarchive-dev libinih-dev libcurl4-openssl-dev libexpat1-dev
	libfuse3-dev fuse3 libs3-dev libyaml-dev)

# Installs those of the packages that are missing; touches nothing when none is.
pfs_install() {
	local missing=() package

	for package in "$@"; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' ||
			missing+=("$package")
	done
	[[ ${#missing[@]} -gt 0 ]] || return 0
	if ! command -v apt-get >/dev/null; then
		echo "This is not a Debian system; please install: ${missing[*]}" >&2
		return 1
	fi
	echo "Installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	if ! apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
		# Perhaps its lists are old. One that cannot be had need not matter.
		apt-get update -q >/dev/null || true
		apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
	fi
}

# A build directory that is set up, with these options.
pfs_setup() {
	local top=$1 build=$2 said

	shift 2
	[[ ! -f $build/build.ninja ]] || return 0
	if ! said=$(meson setup "$build" "$top" "$@" 2>&1); then
		echo "$said" | tail -n 20 >&2
		return 1
	fi
}
