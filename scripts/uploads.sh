# shellcheck shell=bash disable=SC2154
# Uploads to our server by other people's clients. To be sourced by transfers.

check_curl_uploads() {
    curl+=(--cacert "$ca" --output body --write-out '%{http_code}')
    is "a new file" "$("${curl[@]}" -T big "$url/in/curl")" 201
    same files/in/curl big
    is "another in its place" "$("${curl[@]}" -T server.pem "$url/in/curl")" 204
    same files/in/curl server.pem
    # Of unknown length: chunked.
    is "a pipe" "$({ head -c 5000000 big; sleep 0.2; tail -c +5000001 big; } | "${curl[@]}" -T - "$url/in/pipe")" 201
    same files/in/pipe big
    is "an empty file" "$("${curl[@]}" -T /dev/null "$url/in/empty")" 201
    same files/in/empty /dev/null
}

# What must not change the file that is there does not.
check_curl_refused() {
    curl+=(--cacert "$ca" --output body --write-out '%{http_code}')
    cp server.pem files/in/there
    is "If-None-Match: *" "$("${curl[@]}" -H 'If-None-Match: *' -T big "$url/in/there")" 412
    is "If-Match of another" "$("${curl[@]}" -H 'If-Match: "other"' -T big "$url/in/there")" 412
    # A part is not for PUT (RFC 9110 section 14.5).
    is "Content-Range" "$("${curl[@]}" -C 10 -T big "$url/in/there")" 400
    is "a digest that lies" "$("${curl[@]}" -H "Content-Digest: $(field_digest server.key)" -T big "$url/in/there")" 400
    is "another that lies" "$("${curl[@]}" -H "Repr-Digest: $(field_digest server.key)" -T big "$url/in/there")" 400
    same files/in/there server.pem
    is "a digest that does not" "$("${curl[@]}" -H "Content-Digest: $(field_digest big)" -T big "$url/in/there")" 204
    same files/in/there big
    # One that stops in the middle.
    fails_with 28 "${curl[@]}" --max-time 1 --limit-rate 1M -T big "$url/in/there"
    same files/in/there big
    [ -z "$(find files/in -name '*there*' ! -name there)" ] || fail "something is left: $(ls -A files/in)"
}

check_requests_uploads() {
    "$venv/bin/python" "$root/scripts/clients/uploads.py" "$ca" "$url/in/requests" big
    same files/in/requests big
}

# tus_js ARGUMENT... uploads, breaks off and takes up again, by what the upload's URL says.
tus_js() {
    NODE_EXTRA_CA_CERTS=$ca NODE_PATH=$modules/node_modules timeout 60 node "$root/scripts/clients/tus.js" "$@"
}

# check_tus PROTOCOL: to a folder, with a name, and to the file itself, the latter from a stream, too.
check_tus() {
    tus_js "$1" "$url/in/" big "by name, $1"
    same "files/in/by name, $1" big
    tus_js "$1" "$url/in/$1" big
    same "files/in/$1" big
    TUS_STREAM=1 tus_js "$1" "$url/in/$1-stream" big
    same "files/in/$1-stream" big
    # What is known of an upload is kept for a while, its data is not.
    [ -z "$(find files/in -name '.*upload*' ! -name '*.json')" ] || fail "something is left: $(ls -A files/in)"
}

check_uploads() {
    local tool
    tool="curl $(curl --version | sed -n '1s/^curl \([^ ]*\).*/\1/p')"
    check "$tool: -T of a file, a pipe, nothing; in place of another: same bytes" check_curl_uploads
    check "$tool: conditions, digests and parts that do not hold, one broken off: the old file is there" check_curl_refused
    check "$("$venv/bin/python" -c 'import requests; print("requests", requests.__version__)'): PUT, a generator in chunks, conditions: same bytes" \
        check_requests_uploads
    tool="tus-js-client ${tus#*@}, Node $(node --version)"
    check "$tool: tus 1.0, broken off, resumed: same bytes" check_tus tus-v1
    check "$tool: the IETF's draft (interop version 6), broken off, resumed: same bytes" check_tus ietf-draft-05
}
