# shellcheck shell=bash disable=SC2154
# Downloads from our server by other people's clients. To be sourced by transfers.

curl=(curl --disable --silent --show-error --max-time 60)

check_curl_resumes() {
    curl+=(--cacert "$ca")
    broken curl-way "$port" 6000000 1
    fails_with 18,56 "${curl[@]}" -C - -o got-curl "https://localhost:$(cat curl-way.port)/curl"
    [ -s got-curl ] || fail "curl keeps no part"
    [ "$(stat -c %s got-curl)" -lt "$(stat -c %s big)" ] || fail "the connection was not cut"
    local rest=$(($(stat -c %s big) - $(stat -c %s got-curl)))
    is "status and size" "$("${curl[@]}" -C - -o got-curl -w '%{http_code} %{size_download}' "$url/curl")" "206 $rest"
    same got-curl big
    # There is nothing after the end (RFC 9110 section 15.5.17).
    is "status" "$("${curl[@]}" -C - -o got-curl -w '%{http_code}' "$url/curl")" 416
    same got-curl big
}

check_curl_ranges() {
    curl+=(--cacert "$ca")
    local range
    for range in 0-99 1000000- -77 16780000- 0-16780000 0-99999999; do
        is "status of $range" "$("${curl[@]}" -r "$range" -o got -w '%{http_code}' "$url/curl")" 206
        case "$range" in
        0-99) head -c 100 big >part ;;
        1000000-) tail -c +1000001 big >part ;;
        -77) tail -c 77 big >part ;;
        16780000-) tail -c 1 big >part ;;
        *) cp big part ;;
        esac
        same got part
    done
    is "status" "$("${curl[@]}" -r 16780001- -o got -D head -w '%{http_code}' "$url/curl")" 416
    grep -qi '^content-range: bytes \*/16780001' head || fail "no Content-Range with the length"
}

check_curl_conditions() {
    curl+=(--cacert "$ca")
    echo one >files/condition
    touch -d '1 hour ago' files/condition
    is "first" "$("${curl[@]}" --etag-save tag -R -o kept -w '%{http_code}' "$url/condition")" 200
    grep -q '^"' tag || fail "the ETag is not strong: $(cat tag)"
    is "by tag" "$("${curl[@]}" --etag-compare tag -o got -w '%{http_code} %{size_download}' "$url/condition")" "304 0"
    is "by date" "$("${curl[@]}" -z kept -o got -w '%{http_code} %{size_download}' "$url/condition")" "304 0"
    # Other bytes, as many, and of the same second.
    echo two >files/condition
    touch -r kept files/condition
    is "changed" "$("${curl[@]}" --etag-compare tag --etag-save tag -o got -w '%{http_code}' "$url/condition")" 200
    same got files/condition
    echo three >files/condition
    is "changed, by date" "$("${curl[@]}" -z kept -o got -w '%{http_code}' "$url/condition")" 200
    same got files/condition
}

# check_wget NAME: what it has got before is not got again.
check_wget() {
    # With --output-document, wget2 does not go on.
    local get=("$1" --no-config --quiet --timeout=60 --ca-certificate="$ca" --directory-prefix=wget-got)
    broken "$1-way" "$port" 6000000 1
    # To wget2 1.99 that is no error.
    timeout 60 "${get[@]}" --tries=1 "https://localhost:$(cat "$1-way.port")/$1" || true
    [ -s "wget-got/$1" ] || fail "it keeps no part"
    [ "$(stat -c %s "wget-got/$1")" -lt "$(stat -c %s big)" ] || fail "the connection was not cut"
    timeout 60 "${get[@]}" --continue "$url/$1"
    same "wget-got/$1" big
    soon has_part "/$1"
}

aria2=(aria2c --no-conf --quiet --file-allocation=none --auto-save-interval=1 -x 8 -s 8 -k 1M)

check_aria2() {
    aria2+=(--ca-certificate="$ca" --checksum="sha-256=$(digest big)")
    timeout 60 "${aria2[@]}" --out=got-aria2 "$url/aria2"
    same got-aria2 big
    # Each of its connections gets a part of its own.
    soon from_eight /aria2
}

from_eight() {
    [ "$(answers "$1" 'map(.peer) | unique | length')" -ge 8 ]
}

# has_blocks FILE COUNT: so many blocks of 512 bytes of it are written.
has_blocks() {
    [ "$(stat -c %b "$1" 2>/dev/null)" -ge "$2" ] 2>/dev/null
}

check_aria2_resumes() {
    aria2+=(--ca-certificate="$ca" --checksum="sha-256=$(digest big)")
    "${aria2[@]}" -x 2 -s 2 --max-download-limit=5M --out=got-again "$url/again" &
    local killed=$!
    # Some of its pieces, of a mebibyte each, are there; and it has written down which.
    soon has_blocks got-again 12000
    touch has-some
    soon test got-again.aria2 -nt has-some
    kill -KILL "$killed"
    wait "$killed" || true
    [ -e got-again ] || fail "there is no part"
    # Over a way that counts what comes; of several connections, some bring the same bytes.
    broken aria2-way "$port" 0 0
    timeout 60 "${aria2[@]}" -x 1 -s 1 --out=got-again "https://localhost:$(cat aria2-way.port)/again"
    same got-again big
    [ ! -e got-again.aria2 ] || fail "the control file is still there"
    soon all_over aria2-way 1
    [ "$(came aria2-way)" -lt $(($(stat -c %s big) - 3000000)) ] || fail "it begins again: $(came aria2-way) bytes"
}

check_aria2_checksum() {
    aria2+=(--ca-certificate="$ca")
    # 32: "If checksum validation failed."
    fails_with 32 timeout 60 "${aria2[@]}" --checksum="sha-256=$(digest server.pem)" --out=got-wrong "$url/aria2"
}

check_requests() {
    "$venv/bin/python" "$root/scripts/clients/downloads.py" "$ca" "$url/requests" big
}

# What REDbot may object to, by the name of its note, and why.
declare -A allowed=(
    [FRESHNESS_HEURISTIC]="how long a file will stay as it is, only its owner knows; caches have its date to guess by"
)

# check_redbot MUST PATH...: it has no error and no warning, and says of its own requests what it must.
check_redbot() {
    local path level note said must
    read -ra must <<<"$1"
    for path in "${@:2}"; do
        # It resolves names by itself, and not those of /etc/hosts. It verifies no certificate.
        timeout 60 "$venv/bin/python" "$root/scripts/clients/notes.py" "https://127.0.0.1:$port$path" >notes
        for said in "${must[@]}"; do
            grep -q "^good $said " notes || fail "$path: not said: $said, but: $(cat notes)"
        done
        while read -r level note said; do
            case "$level" in
            warning | bad) [ -n "${allowed[$note]:-}" ] || fail "$path: $level: $note: $said" ;;
            esac
        done <notes
    done
}

check_downloads() {
    local name tool
    for name in curl wget wget2 aria2 again; do
        ln big "files/$name"
    done
    # Nobody has set its time: only that is good for a part.
    cat big >files/requests
    seq 100 >files/few.txt
    seq 100000 >files/numbers.txt
    {
        echo '<!DOCTYPE html><html lang="en"><title>Numbers</title><body>'
        seq 2000
    } >files/page.html
    gzip -9 --keep files/page.html

    tool="curl $(curl --version | sed -n '1s/^curl \([^ ]*\).*/\1/p')"
    check "$tool: -C - after a cut, the rest only; 416 at the end: same bytes" check_curl_resumes
    check "$tool: -r first, last, beyond the end, nothing left: the bytes meant" check_curl_ranges
    check "$tool: --etag-save, --etag-compare, -z: 304, and 200 once it has changed" check_curl_conditions
    for tool in wget wget2; do
        check "$("$tool" --version | sed -n '1s/^GNU W\(get2\?\) \([^ ]*\).*/w\1 \2/p'): --continue after a cut, the rest only: same bytes" \
            check_wget "$tool"
    done
    tool="aria2 $(aria2c --version | sed -n '1s/^aria2 version //p')"
    check "$tool: eight connections, checksum: same bytes" check_aria2
    check "$tool: killed, goes on from its control file: same bytes" check_aria2_resumes
    check "$tool: another checksum: refused" check_aria2_checksum
    check "$("$venv/bin/python" -c 'import requests; print("requests", requests.__version__)'): stream, ranges, conditions: same bytes" \
        check_requests
    tool="REDbot $("$venv/bin/pip" freeze | sed -n 's/^redbot==//p')"
    check "$tool: a small file, a text, a large file: nothing left unexplained" \
        check_redbot "INM_304 IMS_304 RANGE_CORRECT" /few.txt /numbers.txt /requests
    check "$tool: a page that is there in gzip, too: nothing left unexplained" \
        check_redbot "INM_304 IMS_304 RANGE_CORRECT CONNEG_GZIP_GOOD" /page.html
    check "$tool: a listing: nothing left unexplained" check_redbot "CL_CORRECT" /in/
}
