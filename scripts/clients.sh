# shellcheck shell=bash disable=SC2154
# Clients of others, which fetch a file from the server under each policy. To be sourced by interop.
#
# Nothing is set in them but whom to trust: what they can do is what their users get.

clients=(curl requests node java)

# What is not possible, and why. It is tried as well: that it has become possible is to be noticed.
declare -A cannot=(
    [curl cnsa2]="OpenSSL has ML-KEM from 3.5 on, and offers MLKEM1024 only if asked to (--curves MLKEM1024)"
    [requests cnsa2]="Python offers the groups that OpenSSL offers by itself, as curl does"
    [node cnsa2]="the OpenSSL of Node 20 is 3.0, which has no ML-KEM"
    [java cnsa2]="the TLS of Java 17 has no ML-KEM"
)

# What a client says of an authority that it does not know.
declare -A distrusts=(
    [curl]="SSL certificate problem: unable to get local issuer certificate"
    [requests]="CERTIFICATE_VERIFY_FAILED"
    [node]="unable to verify the first certificate"
    [java]="PKIX path building failed"
)

# fetch CLIENT CA URL prints what the client gets.
fetch() {
    case "$1" in
    curl) curl --silent --show-error --fail --max-time 20 --cacert "$2" "$3" ;;
    requests) "$venv/bin/python" "$root/scripts/clients/fetch.py" "$2" "$3" ;;
    node) node "$root/scripts/clients/fetch.js" "$2" "$3" ;;
    java) java -Djavax.net.ssl.trustStore="$2.p12" -Djavax.net.ssl.trustStorePassword=changeit \
        "$root/scripts/clients/Fetch.java" "$3" ;;
    esac
}

# version CLIENT
version() {
    case "$1" in
    curl) curl --version | sed -n '1s/^curl \([^ ]*\) .*\(OpenSSL[^ ]*\).*/\1, \2/p' ;;
    requests) "$venv/bin/python" -c 'import platform, requests, ssl
print(f"{requests.__version__}, Python {platform.python_version()}, {ssl.OPENSSL_VERSION}")' ;;
    node) node --print 'process.version + ", OpenSSL " + process.versions.openssl' ;;
    java) java --version | sed -n 1p ;;
    esac
}

# check_client CLIENT POLICY
check_client() {
    local client=$1 policy=$2 url ca=$2.ca reason=${cannot[$1 $2]:-}
    url=https://localhost:$(cat "$policy.port")/index.html
    # Whom it trusts is not what it is to fail for.
    [ -z "$reason" ] || ca=stranger.ca
    if fetch "$client" "$ca" "$url" >got 2>why; then
        [ -z "$reason" ] || wrong "$policy" "$client fetches the file, and was not to: $reason"
        cmp -s got files/index.html || wrong "$policy" "$client fetches another file: $(head -c 200 got)"
    elif [ -z "$reason" ]; then
        wrong "$policy" "$client does not fetch the file: $(grep -v '^[[:space:]]*at ' why | tail -3)"
    elif ! grep -qi 'handshake.\?failure' why; then
        wrong "$policy" "$client: no failed handshake, but: $(tail -3 why)"
    fi
}

# check_distrust CLIENT POLICY: with another authority's certificate it fetches nothing, and says why.
check_distrust() {
    local url
    url=https://localhost:$(cat "$2.port")/index.html
    if fetch "$1" stranger.ca "$url" >got 2>why; then
        wrong "$2" "$1 believes a certificate of an authority that it was not told to trust"
    elif ! grep -q "${distrusts[$1]}" why; then
        wrong "$2" "$1 fails, but not for the authority: $(tail -3 why)"
    fi
}

# start_peer POLICY serves the same file by the newer OpenSSL, where ours cannot provide the policy.
start_peer() {
    local peer key
    peer=$("$root/scripts/peer-openssl" 2>peer.log) || die "no newer OpenSSL: $(tail -3 peer.log)"
    key=$(key_kind "$1")
    "$peer" req -x509 -newkey "$key" -nodes -keyout "$1.key" -out "$1.ca" -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost 2>peer.log || die "no certificate: $(tail -3 peer.log)"
    (
        cd files || exit
        exec "$peer" s_server -accept 127.0.0.1:0 -cert "../$1.ca" -key "../$1.key" -WWW -tls1_3 \
            -groups "$(jq -r '.groups | join(":")' "../$1.policy")" \
            -ciphersuites "$(jq -r '.suites | join(":")' "../$1.policy")"
    ) >"$1.ready" 2>&1 </dev/null &
    servers+=($!)
    for _ in $(seq 100); do
        sed -n 's/^ACCEPT .*:\([0-9]*\)$/\1/p' "$1.ready" >"$1.port"
        [ ! -s "$1.port" ] || break
        kill -0 "${servers[-1]}" 2>/dev/null || die "openssl s_server does not start: $(tail -3 "$1.ready")"
        sleep 0.1
    done
    # Who can speak to it gets the file: so it is for the clients if they do not.
    printf 'GET /index.html HTTP/1.0\r\n\r\n' | timeout 10 "$peer" s_client -quiet -ign_eof \
        -groups "$(jq -r '.groups | join(":")' "$1.policy")" -CAfile "$1.ca" -verify_return_error \
        -connect "localhost:$(cat "$1.port")" >got 2>why || true
    grep -qF "$(cat files/index.html)" got || wrong "$1" "openssl s_client does not get the file: $(tail -3 why)"
}

# check_clients POLICY...
check_clients() {
    local client policy
    sealpair cert init --dir stranger >/dev/null
    ln -s stranger/ca.pem stranger.ca
    for policy in "$@" stranger; do
        # Java reads the keys that it has names for.
        [ -n "${cannot[java $policy]:-}" ] || keytool -importcert -noprompt -alias authority -file "$policy.ca" \
            -keystore "$policy.ca.p12" -storetype PKCS12 -storepass changeit >why 2>&1 ||
            die "keytool: $(tail -3 why)"
    done
    for client in "${clients[@]}"; do
        printf '%s %s:' "$client" "$(version "$client")"
        for policy in "$@"; do
            check_client "$client" "$policy"
            [ -n "${cannot[$client $policy]:-}" ] || printf ' %s' "$policy"
        done
        printf '\n'
        for policy in "$@"; do
            [ -z "${cannot[$client $policy]:-}" ] || printf '    not %s: %s\n' "$policy" "${cannot[$client $policy]}"
        done
        [ ${#ran[@]} = 0 ] || check_distrust "$client" "${ran[0]}"
    done
}
