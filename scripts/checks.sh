# shellcheck shell=bash disable=SC2034,SC2154
# What the checks of transfers are written with. To be sourced by transfers.

failed=
passed=0

# wrong WHAT WHY... notes what must not be.
wrong() {
    printf 'WRONG: %s: %s\n' "$1" "${*:2}" >&2
    failed=1
}

# check WHAT COMMAND... runs a check, a function of ours, by itself: it fails with the first command
# that does. WHAT is what is so if it does not.
check() {
    local code=0
    # In the background, because `set -e` does nothing below an `if` or `||`.
    (
        trap end_jobs EXIT
        set -e
        "${@:2}"
    ) >said 2>&1 &
    checking=$!
    wait "$checking" || code=$?
    checking=
    if [ "$code" = 0 ]; then
        passed=$((passed + 1))
        printf '%s\n' "$1"
    else
        wrong "$1" "$(tail -5 said)"
    fi
}

# Ends what a check has begun.
end_jobs() {
    local job
    for job in $(jobs -p); do
        kill "$job" 2>/dev/null || true
    done
}

# fail WHY... ends a check.
fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# digest FILE prints its SHA-256 in hexadecimal.
digest() {
    sha256sum <"$1" | cut -d ' ' -f 1
}

# field_digest FILE prints it as a field of RFC 9530 has it.
field_digest() {
    printf 'sha-256=:%s:' "$(openssl dgst -sha256 -binary "$1" | base64)"
}

# same FILE ORIGINAL: both have the same bytes.
same() {
    [ -f "$1" ] || fail "$1 is not there"
    [ "$(digest "$1")" = "$(digest "$2")" ] ||
        fail "$1 ($(stat -c %s "$1") bytes) is not $2 ($(stat -c %s "$2") bytes)"
}

# is WHAT IS EXPECTED
is() {
    [ "$2" = "$3" ] || fail "$1 is $2, and not $3"
}

# fails_with CODES COMMAND... the command ends with one of these codes, as in 18,56.
fails_with() {
    local code=0
    "${@:2}" || code=$?
    [[ ",$1," == *",$code,"* ]] || fail "exit $code instead of $1: ${*:2}"
}

# soon COMMAND... waits until it is true.
soon() {
    for _ in $(seq 100); do
        ! "$@" || return 0
        sleep 0.1
    done
    fail "it does not come true: $*"
}

# start_ours starts our server on `files`; its port goes into `port`, its address into `url`.
start_ours() {
    mkdir files/in
    RUST_LOG=warn sealpair-server serve files --listen 127.0.0.1:0 --ready-file ready --writable \
        --cert server.pem --key server.key --access-log log --access-log-format json >/dev/null 2>server.log &
    servers+=($!)
    for _ in $(seq 100); do
        [ ! -e ready ] || break
        kill -0 "${servers[-1]}" 2>/dev/null || die "the server does not start: $(tail -3 server.log)"
        sleep 0.1
    done
    port=$(jq -r '.listen[0] | split(":")[1]' ready)
    url=https://localhost:$port
}

# answers TARGET FILTER prints what the filter makes of the answers that our server gave for a target.
answers() {
    jq -c -s --arg target "$1" "[.[] | select(.target == \$target)] | $2" log
}

# has_part TARGET: a part was asked for, and sent. The line is there soon after the answer.
has_part() {
    [ "$(answers "$1" 'map(select(.status == 206)) | length')" -gt 0 ]
}

# broken NAME PORT BYTES TIMES [out] starts a way to a port that ends the first connections after so many
# bytes that came back, or went out; its port goes into NAME.port, how many these were for each connection
# into NAME.passed.
broken() {
    rm -f "$1.port" "$1.passed"
    python3 "$root/scripts/clients/cut.py" "$1.port" "$1.passed" "$2" "$3" "$4" "${@:5}" &
    soon test -e "$1.port"
}

# came NAME prints how many bytes came back in all.
came() {
    awk '{ all += $1 } END { print all + 0 }' "$1.passed"
}

# all_over NAME COUNT: so many connections, or more, have ended.
all_over() {
    [ "$(wc -l 2>/dev/null <"$1.passed")" -ge "$2" ]
}
