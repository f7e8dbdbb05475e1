# shellcheck shell=bash
# Shared by the shell tests: a scratch directory, a server in it, and its end.

setup() {
    work=$(mktemp -d)
    cd "$work" || return 1
    # A script that breaks must not leave a server behind.
    server=
}

teardown() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    cd / && rm -rf "$work"
}

# start_server ARGUMENT... serves ./files on a free port; sets $server, $url and $ca.
start_server() {
    mkdir -p files
    # bats waits for whoever holds its descriptor 3.
    sealpair-server serve files --listen 127.0.0.1:0 --state-dir state --ready-file ready.json \
        "$@" >server.out 2>server.log 3>&- &
    server=$!
    wait_for ready.json
    url=$(jq -r .url ready.json)
    ca=$(jq -r .ca ready.json)
}

# stop_server sends SIGTERM and returns the server's exit code.
stop_server() {
    local pid=$server
    server=
    kill "$pid" && wait "$pid"
}

# wait_for FILE waits until it is there, at most ten seconds.
wait_for() {
    for _ in $(seq 100); do
        [ -e "$1" ] && return 0
        sleep 0.1
    done
    echo "no $1 after ten seconds" >&2
    cat server.log >&2
    return 1
}
