# shellcheck shell=bash disable=SC2154
# Our client with httpbin, which answers in every way there is. To be sourced by transfers.

start_httpbin() {
    "$venv/bin/gunicorn" --bind 127.0.0.1:0 --certfile server.pem --keyfile server.key --threads 4 \
        --no-control-socket httpbin:app >httpbin.log 2>&1 &
    servers+=($!)
    for _ in $(seq 200); do
        bin_port=$(sed -n 's/.*Listening at: https:..127.0.0.1:\([0-9]*\).*/\1/p' httpbin.log)
        [ -z "$bin_port" ] || break
        kill -0 "${servers[-1]}" 2>/dev/null || die "httpbin does not start: $(tail -3 httpbin.log)"
        sleep 0.1
    done
    bin=https://localhost:$bin_port
}

# get ARGUMENT... by our client, into `got`
get() {
    rm -f got
    timeout 60 sealpair get --quiet --ca "$ca" -o got "$@"
}

# as_curl PATH: both get the same.
as_curl() {
    curl --disable --silent --show-error --max-time 60 --cacert "$ca" --fail -o expected "$bin$1"
    get "$bin$1"
    same got expected
}

check_redirects() {
    local kind code
    for kind in redirect relative-redirect absolute-redirect; do
        get "$bin/$kind/10"
        is "where $kind leads" "$(jq -r .url got)" "$bin/get"
        fails_with 22 get "$bin/$kind/11"
        [ ! -e got ] || fail "there is a file"
    done
    for code in 301 302 303 307 308; do
        get "$bin/redirect-to?url=/get&status_code=$code"
        is "where $code leads" "$(jq -r .url got)" "$bin/get"
    done
    # Neither without TLS nor anywhere else than to a web server.
    fails_with 22 get "$bin/redirect-to?url=http%3A%2F%2Flocalhost%2F"
    fails_with 22 get "$bin/redirect-to?url=file%3A%2F%2F%2Fetc%2Fpasswd"
    # To another host, which is not for whom the credentials are.
    echo 'Authorization: Bearer secret' >token
    get -H @token "$bin/headers"
    is "what the host gets" "$(jq -r .headers.Authorization got)" "Bearer secret"
    get -H @token "$bin/redirect-to?url=https%3A%2F%2F127.0.0.1%3A$bin_port%2Fheaders"
    is "the other host" "$(jq -r .headers.Host got)" "127.0.0.1:$bin_port"
    is "what another host gets" "$(jq -r .headers.Authorization got)" null
}

# It keeps none: what one answer sets is in no other request. What one gives it is sent.
check_cookies() {
    get "$bin/cookies/set?one=1"
    is "cookies after they were set" "$(jq -c .cookies got)" '{}'
    get -H 'Cookie: one=1' "$bin/cookies"
    is "cookies given" "$(jq -c .cookies got)" '{"one":"1"}'
}

# It asks for none, and one that comes all the same is kept as it came.
check_encodings() {
    get "$bin/gzip"
    gzip -dc <got >decoded
    is "gzip" "$(jq .gzipped decoded)" true
    get "$bin/deflate"
    python3 -c 'import sys, zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))' <got >decoded
    is "deflate" "$(jq .deflated decoded)" true
    get "$bin/brotli"
    "$venv/bin/python" -c 'import sys, brotli; sys.stdout.buffer.write(brotli.decompress(sys.stdin.buffer.read()))' \
        <got >decoded
    is "brotli" "$(jq .brotli decoded)" true
    as_curl /encoding/utf8
}

check_bodies() {
    # A byte at a time, in chunks, in lines, of a known length; and nothing.
    as_curl '/drip?numbytes=10&duration=1&delay=0'
    as_curl '/stream-bytes/100000?seed=5&chunk_size=777'
    get "$bin/stream/20"
    is "lines" "$(jq -c .id got | tr '\n' ' ')" "$(seq 0 19 | tr '\n' ' ')"
    as_curl '/bytes/100000?seed=5'
    as_curl '/range/26000?duration=1&chunk_size=1000'
    as_curl /status/204
    # Slower than it may be.
    fails_with 7 get --timeout 1s "$bin/delay/3"
    fails_with 7 get --max-time 1s "$bin/drip?numbytes=10&duration=5&delay=0"
    [ ! -e got ] || fail "there is a file"
    fails_with 20 get "$bin/status/404"
    fails_with 21 get "$bin/status/503"
}

check_echo() {
    head -c 20000 big | base64 >sent
    sealpair put --quiet --ca "$ca" sent "$bin/put"
    sealpair request --quiet --ca "$ca" --data @sent -H 'Content-Type: text/plain' -o got PUT "$bin/put"
    jq -j .data got >echoed
    same echoed sent
}

check_httpbin() {
    start_httpbin
    local tool
    tool="httpbin $("$venv/bin/pip" freeze | sed -n 's/^httpbin==//p')"
    check "$tool: redirects, ten and no more, neither to http: nor with credentials to others" check_redirects
    check "$tool: cookies: none kept, those sent that are given" check_cookies
    check "$tool: gzip, deflate, brotli: as they came" check_encodings
    check "$tool: slow bodies, chunks, ranges, none: same bytes as curl's" check_bodies
    check "$tool: an upload comes back: same bytes" check_echo
}
