# shellcheck shell=bash disable=SC2154
# `sealpair inspect` and sslyze on the same servers: ours, and Debian's nginx and Apache. To be sourced by
# interop.

# Each of these becomes its server, in the foreground, on port $1, with what it writes in directory $2.
# nginx offers what its OpenSSL has, down to TLS 1.0 and suites without a certificate: the longer the
# lists are, the more there is to agree on. Two of the suites have no name in sslyze.
run_nginx() {
    cat >"$2/conf" <<END
daemon off;
$([ "$(id -u)" != 0 ] || echo "user $(id -un);")
worker_processes 1;
pid $2/pid;
error_log $2/error;
events { }
http {
    access_log off;
    client_body_temp_path $2/body;
    proxy_temp_path $2/proxy;
    fastcgi_temp_path $2/fastcgi;
    uwsgi_temp_path $2/uwsgi;
    scgi_temp_path $2/scgi;
    server {
        listen 127.0.0.1:$1 ssl;
        root $work/files;
        ssl_certificate $work/p256.pem;
        ssl_certificate_key $work/p256.key;
        ssl_certificate $work/p256-rsa.pem;
        ssl_certificate_key $work/p256-rsa.key;
        ssl_dhparam $work/dh.pem;
        ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
        ssl_ciphers ALL:!ADH-CAMELLIA128-SHA256:!ADH-CAMELLIA256-SHA256:@SECLEVEL=0;
    }
}
END
    exec nginx -c "$2/conf" -p "$2" -e "$2/error"
}

# Apache is as Debian has it.
run_apache() {
    cat >"$2/conf" <<END
ServerRoot $2
ServerName localhost
PidFile $2/pid
ErrorLog $2/error
$([ "$(id -u)" != 0 ] || echo "User nobody")
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
Listen 127.0.0.1:$1
DocumentRoot $work/files
SSLEngine on
SSLProtocol all -SSLv3
SSLCipherSuite HIGH:!aNULL
SSLCertificateFile $work/p256.pem
SSLCertificateKeyFile $work/p256.key
SSLCertificateFile $work/p256-rsa.pem
SSLCertificateKeyFile $work/p256-rsa.key
END
    exec apache2 -DFOREGROUND -f "$2/conf"
}

# start_other NAME starts one; its port goes into NAME.port. Somebody else may take the port first.
start_other() {
    local port
    ln -sf ca-p256/ca.pem "$1.ca"
    for _ in 1 2 3; do
        rm -rf "$1"
        mkdir "$1"
        port=$(python3 -c 'import socket
with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    print(one.getsockname()[1])')
        "run_$1" "$port" "$work/$1" >"$1/log" 2>&1 &
        servers+=($!)
        for _ in $(seq 100); do
            kill -0 "${servers[-1]}" 2>/dev/null || break
            if [ "$(curl -s --cacert "$1.ca" "https://localhost:$port/index.html")" = "$(cat files/index.html)" ]; then
                echo "$port" >"$1.port"
                return 0
            fi
            sleep 0.1
        done
        kill "${servers[-1]}" 2>/dev/null || true
        unset 'servers[-1]'
    done
    die "$1 does not start: $(cat "$1/log" "$1/error" 2>/dev/null | tail -3)"
}

# check_same NAME: inspect and sslyze find the same versions, and the same suites in each.
check_same() {
    sealpair inspect --json --quiet --ca "$1.ca" "localhost:$(cat "$1.port")" >"$1.inspected" 2>why ||
        { wrong "$1" "inspect: $(tail -3 why)"; return 0; }
    # A scan of everything may be here already.
    if [ ! -s "$1.sslyze" ]; then
        timeout 120 "$venv/bin/sslyze" --quiet --json_out "$1.scan" --mozilla_config disable --sslv3 --tlsv1 \
            --tlsv1_1 --tlsv1_2 --tlsv1_3 "localhost:$(cat "$1.port")" >"$1.said" 2>&1 || true
        jq '.server_scan_results[0].scan_result' "$1.scan" >"$1.sslyze"
    fi
    # In TLS 1.3, OpenSSL's names and IANA's are the same.
    jq -S '.protocols | with_entries(select(.value.offered)
        | .key as $version | .value |= ([.suites[] | if $version == "TLSv1.3" then .iana else .openssl end] | sort))' \
        "$1.inspected" >"$1.ours"
    # What sslyze cannot see for want of an extended master secret, `openssl s_client` was asked.
    [ -e "$1.tls12" ] || echo null >"$1.tls12"
    jq -S --slurpfile asked "$1.tls12" '{ "SSLv3": .ssl_3_0_cipher_suites,
            "TLSv1.0": .tls_1_0_cipher_suites, "TLSv1.1": .tls_1_1_cipher_suites,
            "TLSv1.2": .tls_1_2_cipher_suites, "TLSv1.3": .tls_1_3_cipher_suites }
        | map_values(.result) | with_entries(select(.value.is_tls_version_supported)
        | .value |= ([.accepted_cipher_suites[].cipher_suite.openssl_name] | sort))
        | if $asked[0] then ."TLSv1.2" = $asked[0] else . end' "$1.sslyze" >"$1.theirs"
    if ! diff "$1.ours" "$1.theirs" >"$1.differs"; then
        wrong "$1" "inspect and sslyze differ (< inspect, > sslyze):"
        cat "$1.differs" >&2
    fi
    jq -e 'length > 0' "$1.ours" >/dev/null || wrong "$1" "inspect finds no version"
    jq -r --arg name "$1" '[to_entries[] | "\(.value | length) suites in \(.key)"]
        | "\($name): " + join(", ")' "$1.ours"
}

# check_inspect SERVER POLICY CODE: what inspect judges of a server by a policy.
check_inspect() {
    local code=0
    sealpair inspect --quiet --json --ca "$1.ca" --policy "$2" "localhost:$(cat "$1.port")" \
        >"$1.judged" 2>why || code=$?
    [ "$code" = "$3" ] || wrong "$1" "inspect --policy $2: exit $code instead of $3:" \
        "$(jq -c '[.policy.rules[]? | select(.passed | not) | .rule]' "$1.judged") $(tail -3 why)"
}
