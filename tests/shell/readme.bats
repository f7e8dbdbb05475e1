#!/usr/bin/env bats
# Every command that the README shows is run as it stands there, in one shell from top to bottom.

bats_require_minimum_version 1.5.0
load helper

readme="$BATS_TEST_DIRNAME/../../README.md"

# The shell blocks of the README, with its port replaced by a free one.
script() {
    local port
    port=$(python3 - <<'PYTHON' 2>/dev/null || echo 18443
import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])
PYTHON
    )
    awk '/^```sh$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$readme" |
        sed "s/8443/$port/g"
}

@test "the README's commands work as printed" {
    script >readme.sh
    # A README without commands would pass anything.
    [ "$(grep -c '^sealpair' readme.sh)" -ge 12 ]
    # `kill %1` needs job control, as a person's shell has it.
    run timeout 60 bash -m -e -o pipefail readme.sh 3>&-
    echo "$output"
    [ "$status" -eq 0 ]
    [[ "$output" == *'Hello, HTTPS!'* ]]
    [[ "$output" == *'"TLSv1.3"'* ]]
    [[ "$output" == *'sealpair.listing/1'* ]]
    [[ "$output" == *'its issuer is unknown'* ]]
    [[ "$output" == *'requires a client certificate'* ]]
}

@test "the README names every command of both programs" {
    for program in sealpair sealpair-server "sealpair cert"; do
        commands=$($program --help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')
        [ -n "$commands" ]
        for command in $commands; do
            [ "$command" = help ] || [ "$command" = cert ] || grep -qF "\`$program $command" "$readme" ||
                { echo "not in the README: $program $command"; return 1; }
        done
    done
}
