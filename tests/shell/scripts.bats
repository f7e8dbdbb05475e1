#!/usr/bin/env bats
# What a shell script relies on: exit codes, silence on success, what goes to which output.

bats_require_minimum_version 1.5.0
load helper

@test "start, wait for ready, transfer, stop" {
    start_server --writable
    head -c 1000000 /dev/urandom >original
    run --separate-stderr sealpair put --quiet --ca "$ca" original "$url/a"
    [ "$status" -eq 0 ] && [ -z "$output" ] && [ -z "$stderr" ]
    sealpair get --quiet --ca "$ca" "$url/a" >copy
    cmp original copy
    sealpair get --quiet --ca "$ca" "$url/a" | cmp original -
    sealpair put --quiet --ca "$ca" - "$url/b" <original
    cmp original files/b
    stop_server
    [ ! -e ready.json ]
}

@test "one JSON document on standard output, for success and for failure" {
    start_server
    echo hello >files/a
    run --separate-stderr sealpair get --json --ca "$ca" "$url/a" -o a
    [ "$status" -eq 0 ]
    [ "$(jq -r '.schema, .status, .bytes' <<<"$output" | xargs)" = "sealpair.response/1 200 6" ]
    run --separate-stderr sealpair get --json --ca "$ca" "$url/nothing" -o b
    [ "$status" -eq 20 ]
    [ "$(jq -r '.error.code, .error.kind, .error.detail.status' <<<"$output" | xargs)" = "20 status 404" ]
    [ ! -e b ]
    run --separate-stderr sealpair get --json "$url/a" -o b
    [ "$status" -eq 10 ]
    [ "$(jq -r '.error.code, .error.detail.depth' <<<"$output" | xargs)" = "10 0" ]
    run sealpair get --json --ca "$ca" "$url/a"
    [ "$status" -eq 2 ]
    stop_server
}

@test "usage errors are 2 and help is 0" {
    for arguments in "" "get" "get http://localhost/" "get --nonsense https://localhost/" \
        "put a" "get --cert a https://localhost/" "get --policy none https://localhost/"; do
        # shellcheck disable=SC2086
        run sealpair $arguments
        echo "$arguments: $status"
        [ "$status" -eq 2 ]
    done
    for program in sealpair sealpair-server "sealpair get" "sealpair-server serve" "sealpair cert issue"; do
        run $program --help
        [ "$status" -eq 0 ] && [ -n "$output" ]
    done
}

@test "a reader that has seen enough is not a mystery" {
    start_server
    truncate -s 8M files/big
    run bash -c "sealpair get --ca '$ca' '$url/big' 2>err | head -c 10 | wc -c; echo \${PIPESTATUS[0]}"
    [ "${lines[0]}" = 10 ]
    grep -q 'cannot write to standard output' err
    stop_server
}

@test "an interrupted download leaves nothing and says so" {
    start_server --min-rate 0
    mkfifo files/never || true
    truncate -s 2G files/big
    mkdir out
    sealpair get --quiet --ca "$ca" "$url/big" -o out/big 3>&- &
    pid=$!
    for _ in $(seq 200); do
        ls out/.sealpair-download-* >/dev/null 2>&1 && break
        sleep 0.02
    done
    kill -INT "$pid" || true
    code=0
    wait "$pid" || code=$?
    # Whoever was faster: interrupted and nothing there, or complete.
    if [ "$code" = 130 ]; then
        [ -z "$(ls -A out)" ]
    else
        [ "$code" = 0 ] && [ "$(stat -c %s out/big)" = 2147483648 ]
    fi
    stop_server
}

@test "a progress bar on a terminal, none in a pipe" {
    start_server
    truncate -s 512M files/big
    # script(1) gives the program a terminal.
    script -qec "sealpair get --ca '$ca' '$url/big' -o /dev/null" terminal >/dev/null
    grep -q 'of 512.00 MiB' terminal
    sealpair get --ca "$ca" "$url/big" -o /dev/null 2>pipe
    [ "$(wc -l <pipe)" = 1 ]
    run grep -q ' of ' pipe
    [ "$status" -ne 0 ]
    stop_server
}

@test "a terminal as output is written through, with no bar between" {
    start_server
    echo 'plain text' >files/a
    for output in "" "-o /dev/tty"; do
        script -qec "sealpair get --ca '$ca' '$url/a' $output" terminal >/dev/null
        grep -q 'plain text' terminal
    done
    [ -c /dev/tty ]
    stop_server
}
