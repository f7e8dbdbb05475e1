# shellcheck shell=bash disable=SC2154
# Our client with other people's servers. To be sourced by transfers.

# What a server answers to a PUT where it has none: 4xx or 5xx, by our exit codes.
declare -A refuses_put=([caddy]=20 [python]=21)
# Those that know no ranges: a download begins again.
declare -A whole_only=([python]=1)

check_get() {
    local from
    from=https://localhost:$(cat "$1.port")
    sealpair get --quiet --ca "$ca" -o "$1.got" "$from/big"
    same "$1.got" big
    is "its time" "$(stat -c %Y "$1.got")" "$(stat -c %Y big)"
    # A folder is redirected to, in the way of each.
    sealpair get --quiet --ca "$ca" -o "$1.index" "$from/folder"
    same "$1.index" origin/folder/index.html
    fails_with 20 sealpair get --quiet --ca "$ca" -o "$1.none" "$from/nothing"
    [ ! -e "$1.none" ] || fail "there is a file"
}

check_continue() {
    broken "$1-way" "$(cat "$1.port")" 6000000 1
    local from
    from=https://localhost:$(cat "$1-way.port")/big
    rm -f "$1.got"
    fails_with 6,24 sealpair get --quiet --ca "$ca" --continue -o "$1.got" "$from"
    [ ! -e "$1.got" ] || fail "what is not whole has the name"
    sealpair get --quiet --ca "$ca" --continue -o "$1.got" "$from"
    same "$1.got" big
    rest_only "$1-way" "${whole_only[$1]:-}"
}

check_retry() {
    broken "$1-way" "$(cat "$1.port")" 6000000 2
    rm -f "$1.got"
    sealpair get --quiet --ca "$ca" --retry 3 -o "$1.got" "https://localhost:$(cat "$1-way.port")/big"
    same "$1.got" big
    soon all_over "$1-way" 3
}

# rest_only WAY [WHOLE]: over the last connection came less than the file, or all of it.
rest_only() {
    local last size
    size=$(stat -c %s big)
    # The line is written when the connection has gone.
    soon all_over "$1" 2
    last=$(tail -1 "$1.passed")
    if [ -n "${2:-}" ]; then
        [ "$last" -ge "$size" ] || fail "$last bytes came, and it knows no ranges"
    else
        [ "$last" -lt $((size - 5000000)) ] || fail "$last bytes came again"
    fi
}

check_parallel() {
    broken "$1-way" "$(cat "$1.port")" 0 0
    rm -f "$1.got"
    sealpair get --quiet --ca "$ca" --parallel 4 -o "$1.got" "https://localhost:$(cat "$1-way.port")/big"
    same "$1.got" big
    [ -n "${whole_only[$1]:-}" ] || soon all_over "$1-way" 4
}

check_put() {
    local to
    to=https://localhost:$(cat "$1.port")/$1
    if [ -n "${refuses_put[$1]:-}" ]; then
        fails_with "${refuses_put[$1]}" sealpair put --quiet --ca "$ca" big "$to/put"
        return 0
    fi
    sealpair put --quiet --ca "$ca" big "$to/put"
    same "origin/$1/put" big
    # Of unknown length.
    sealpair put --quiet --ca "$ca" - "$to/pipe" < <(cat big)
    same "origin/$1/pipe" big
    sealpair put --quiet --ca "$ca" server.pem "$to/put"
    same "origin/$1/put" server.pem
    sealpair get --quiet --ca "$ca" -o "$1.got" "$to/put"
    same "$1.got" server.pem
}

# A PUT may be repeated. What the server has of the first one is its own affair. Some end the connection by
# which the client asks whether they can do more than PUT, so the second is cut as well.
check_put_again() {
    broken "$1-way" "$(cat "$1.port")" 6000000 2 out
    sealpair put --quiet --ca "$ca" --retry 3 big "https://localhost:$(cat "$1-way.port")/$1/again"
    same "origin/$1/again" big
    soon all_over "$1-way" 3
}

# Folders are made by MKCOL (RFC 4918), which all of these have.
check_folder() {
    rm -rf "origin/$1/tree"
    sealpair put --quiet --ca "$ca" --recursive tree-to-put "https://localhost:$(cat "$1.port")/$1/"
    diff -r tree-to-put "origin/$1/tree-to-put"
}

check_origins() {
    local name tool origins=(nginx apache lighttpd caddy python)
    ! command -v dufs >/dev/null || origins+=(dufs)
    mkdir -p origin/folder
    ln big origin/big
    echo index >origin/folder/index.html
    mkdir -p 'tree-to-put/a folder/below' tree-to-put/empty
    head -c 100000 big >tree-to-put/bytes
    echo 'A file' >'tree-to-put/a folder/below/a % file, ü'
    touch tree-to-put/nothing
    for name in "${origins[@]}"; do
        start_origin "$name"
        tool="$name $(origin_version "$name")"
        check "$tool: get, with a redirect: same bytes" check_get "$name"
        if [ -n "${whole_only[$name]:-}" ]; then
            check "$tool: get --continue after a cut, from the beginning: same bytes" check_continue "$name"
        else
            check "$tool: get --continue after a cut, the rest only: same bytes" check_continue "$name"
        fi
        check "$tool: get --retry, cut twice: same bytes" check_retry "$name"
        check "$tool: get --parallel 4: same bytes" check_parallel "$name"
        if [ -n "${refuses_put[$name]:-}" ]; then
            check "$tool: put is refused, exit ${refuses_put[$name]}" check_put "$name"
        else
            check "$tool: put of a file and of a pipe, in place of another: same bytes" check_put "$name"
            check "$tool: put --retry, cut on its way: same bytes" check_put_again "$name"
            check "$tool: put --recursive: same tree" check_folder "$name"
        fi
    done
}
