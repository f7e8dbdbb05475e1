# shellcheck shell=bash disable=SC2154
# The scanners that judge our servers: sslyze, testssl.sh and `openssl s_client`. To be sourced by interop.

# mozilla_profile POLICY writes POLICY.mozilla: the table in the format of Mozilla's guideline, which is what
# sslyze reads. The IANA names of suites are OpenSSL's. What it does not read is filled in: it has to be there.
mozilla_profile() {
    local ciphers
    ciphers=$(jq -r '.ciphers | join(":")' "$1.policy")
    { [ -z "$ciphers" ] || openssl ciphers -s -tls1_2 -stdname "$ciphers"; } | awk '{ print $1 }' |
        jq -R . | jq -s --slurpfile policy "$1.policy" '. as $iana | $policy[0] |
        # Where the source sets no limit, one that no certificate reaches.
        (.lifetime_days // 100000) as $days |
        # Those of ECDSA and RSA have the names of RFC 5912 in certificates.
        [.certificate_digests as $digests | .signatures[]
            | capture("^(?<key>ecdsa|rsa_pkcs1)_.*sha(?<digest>[0-9]+)$")
            | select($digests == null or ("SHA" + .digest | IN($digests[])))
            | if .key == "ecdsa" then "ecdsa-with-SHA" + .digest
              else "sha" + .digest + "WithRSAEncryption" end] as $signatures |
        {
            certificate_curves: .curves,
            certificate_signatures: $signatures,
            certificate_types: [(select(.curves != []) | "ecdsa"), (select(.rsa_bits) | "rsa")],
            ciphersuites: .suites,
            ciphers: { caddy: $iana, go: $iana, iana: $iana, openssl: .ciphers },
            dh_param_size: null,
            # X25519 counts as 256 bits there, and no group of ours has fewer.
            ecdh_param_size: ([.groups[] | capture("^(prime|secp)(?<bits>[0-9]+)").bits | tonumber] | min),
            hsts_min_age: 0,
            maximum_certificate_lifespan: $days,
            ocsp_staple: false,
            recommended_certificate_lifespan: $days,
            rsa_key_size: .rsa_bits,
            server_preferred_order: false,
            tls_curves: (.groups + .groups_where_built),
            tls_versions: .protocols
        }' >"$1.mozilla"
}

# sslyze_against SERVER POLICY [ARGUMENT...] has sslyze judge a server by a policy; its words go into
# SERVER.said. The certificate is verified too.
sslyze_against() {
    timeout 120 "$venv/bin/sslyze" --quiet --custom_tls_config "$2.mozilla" --certinfo_ca_file "$1.ca" "${@:3}" \
        "localhost:$(cat "$1.port")" >"$1.said" 2>&1 || true
}

# check_sslyze_refuses SERVER POLICY: a server that is not of the policy is not compliant with it, for the
# versions or the suites that it offers.
check_sslyze_refuses() {
    sslyze_against "$1" "$2"
    { grep -q ' FAILED - Not compliant\.$' "$1.said" &&
        grep -Eq '\* (tls_versions|ciphersuites|ciphers):' "$1.said"; } ||
        wrong "$1" "sslyze does not object to it as a server of $2: $(tail -5 "$1.said")"
}

# expect POLICY WHAT EXPECTED FILTER compares what a filter finds in the scan.
expect() {
    local found
    found=$(jq -cS "$4" "$1.sslyze") || found="nothing"
    [ "$found" = "$3" ] || wrong "$1" "sslyze, $2: $found instead of $3"
}

accepted_tls12='[.tls_1_2_cipher_suites.result.accepted_cipher_suites[].cipher_suite.openssl_name] | sort'

# ask_suites POLICY tries each suite of TLS 1.2 that OpenSSL has; those that are agreed on go into
# POLICY.tls12.
ask_suites() {
    local suite
    for suite in $(openssl ciphers -tls1_2 'ALL:COMPLEMENTOFALL:@SECLEVEL=0' | tr ':' '\n' | grep -v '^TLS_'); do
        timeout 10 openssl s_client -connect "localhost:$(cat "$1.port")" -tls1_2 -cipher "$suite:@SECLEVEL=0" \
            -CAfile "$1.ca" -verify_return_error </dev/null >"$1.said" 2>&1 || continue
        sed -n "s/^ *Cipher *: \($suite\)$/\1/p" "$1.said"
    done | jq -R . | jq -s sort >"$1.tls12"
}

# check_sslyze POLICY holds a scan against the policy.
check_sslyze() {
    local suites ciphers groups
    sslyze_against "$1" "$1" --json_out "$1.sslyze" --early_data --resum
    grep -q ' OK - Compliant\.$' "$1.said" || wrong "$1" "sslyze: $(tail -5 "$1.said")"
    [ -s "$1.sslyze" ] || return 0
    expect "$1" "the scan" '"COMPLETED"' '.server_scan_results[0].scan_status'
    jq '.server_scan_results[0].scan_result' "$1.sslyze" >"$1.result" && mv "$1.result" "$1.sslyze"

    suites=$(jq -cS '.suites | sort' "$1.policy")
    ciphers=$(jq -cS '.ciphers | sort' "$1.policy")
    groups=$(jq -cS '.groups | sort' "$1.policy")
    # For TLS 1.2 it uses OpenSSL 1.0.2, which has no extended master secret: where a policy demands that,
    # its hellos are refused, and that they are is what it can judge.
    if [ "$(jq .extended_master_secret "$1.policy")" = true ]; then
        expect "$1" "suites of TLS 1.2 without an extended master secret" '[]' "$accepted_tls12"
        ask_suites "$1"
        local asked
        asked=$(jq -cS . "$1.tls12")
        [ "$asked" = "$ciphers" ] || wrong "$1" "s_client, suites of TLS 1.2: $asked instead of $ciphers"
    else
        expect "$1" "suites of TLS 1.2" "$ciphers" "$accepted_tls12"
    fi
    local version
    for version in ssl_2_0 ssl_3_0 tls_1_0 tls_1_1; do
        expect "$1" "$version" false ".${version}_cipher_suites.result.is_tls_version_supported"
    done
    expect "$1" "suites of TLS 1.3" "$suites" \
        '[.tls_1_3_cipher_suites.result.accepted_cipher_suites[].cipher_suite.openssl_name] | sort'
    # SEC calls a curve secp256r1 that ANSI calls prime256v1. sslyze does not know the hybrids.
    expect "$1" groups "$groups" '[.elliptic_curves.result.supported_curves[].name
        | if . == "secp256r1" then "prime256v1" else . end] | sort'
    expect "$1" compression false .tls_compression.result.supports_compression
    expect "$1" "early data" false .tls_1_3_early_data.result.supports_early_data
    expect "$1" "CCS injection" false .openssl_ccs_injection.result.is_vulnerable_to_ccs_injection
    expect "$1" Heartbleed false .heartbleed.result.is_vulnerable_to_heartbleed
    expect "$1" ROBOT '"NOT_VULNERABLE_RSA_NOT_SUPPORTED"' .robot.result.robot_result
    expect "$1" "renegotiation" false \
        .session_renegotiation.result.is_vulnerable_to_client_renegotiation_dos
    expect "$1" "extended master secret" true .tls_extended_master_secret.result.supports_ems_extension
    # These two, and the extended master secret, are things of TLS 1.2: of a server without that, sslyze
    # says that it has them, because it needs none.
    expect "$1" "secure renegotiation" true .session_renegotiation.result.supports_secure_renegotiation
    expect "$1" "fallback SCSV" true .tls_fallback_scsv.result.supports_fallback_scsv
    # Tickets of TLS 1.2, that is. OpenSSL has none from security level 3 on (SSL_CTX_set_security_level(3)).
    local tickets=FULLY_SUPPORTED
    [ "$(jq .security_level "$1.policy")" -lt 3 ] || tickets=NOT_SUPPORTED
    [ "$ciphers" != "[]" ] || tickets=SERVER_IS_TLS_1_3_ONLY
    expect "$1" tickets "\"$tickets\"" .session_resumption.result.tls_ticket_resumption_result
}

# What testssl.sh may hold against the server, as "what: how its finding begins", each with the reason why
# it is so. LOW and below does not count; HSTS is of that kind, and not the file server's to promise for
# its host.
allowed=(
    # Mozilla's guideline lets the client choose among suites that are all good: only it knows whether
    # it has AES in hardware.
    'cipher_order: '
    # A private authority publishes no revocation lists and has no OCSP responder.
    'cert_revocation: '
    # Of the scanner's own OpenSSL: it has no GOST.
    'engine_problem: '
    # It has its client leave at once and only then looks for the ticket, which TLS 1.3 sends after the
    # handshake (RFC 8446, section 4.6.1): who leaves first has none, and the next step finds an empty
    # file. check_resumption waits for the ticket.
    'sessionresumption_ticket: check failed because of connect problem'
)

# check_resumption POLICY resumes a session by its ticket, with the newest version of the policy.
check_resumption() {
    local policy=$1 address
    address=localhost:$(cat "$policy.port")
    # A request, so that the client stays until it is answered, and the ticket comes before the answer.
    ask() { printf 'HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' |
        timeout 10 openssl s_client -connect "$address" -CAfile "$policy.ca" -verify_return_error -ign_eof \
            -groups "$(jq -r '.groups | join(":")' "$policy.policy")" "$@"; }
    ask -sess_out "$1.session" >"$1.first" 2>&1 || { wrong "$1" "s_client: $(tail -3 "$1.first")"; return 0; }
    ask -sess_in "$1.session" >"$1.second" 2>&1 || { wrong "$1" "s_client: $(tail -3 "$1.second")"; return 0; }
    grep -q '^New, TLSv1.3' "$1.first" || wrong "$1" "s_client: the first session is not a new one of TLS 1.3"
    grep -q '^Reused, TLSv1.3' "$1.second" || wrong "$1" "s_client: the ticket did not resume"
}

# scan_testssl NAME [SECTION...] scans; the findings go into NAME.testssl. Each cipher by itself and the
# simulated clients are left out: the first is what sslyze does, the second rates nothing.
scan_testssl() {
    local sections=("${@:2}")
    [ ${#sections[@]} -gt 0 ] || sections=(--protocols --standard --fs --server-defaults \
        --server-preference --headers --vulnerable)
    timeout 600 testssl --quiet --color 0 --warnings batch --nodns none --ip 127.0.0.1 \
        --add-ca "$1.ca" --openssl-timeout 10 --jsonfile "$1.testssl" "${sections[@]}" \
        "https://localhost:$(cat "$1.port")" >"$1.told" 2>&1
}

# check_testssl POLICY fails for every finding of MEDIUM or above that is not allowed.
check_testssl() {
    # Its exit code counts findings; that the scan came to its end is the last thing that it writes.
    jq -e 'any(.id == "scanTime" and (.finding | tonumber? // 0) > 0)' "$1.testssl" >/dev/null 2>&1 ||
        { wrong "$1" "testssl.sh did not finish: $(tail -3 "$1.told")"; return 0; }
    # The scan saw what it was to see. Its hellos of TLS 1.2 have no extended master secret, as sslyze's.
    local id
    for id in TLS1_3 TLS1_2; do
        local offered=offered
        [ "$id" = TLS1_3 ] || [ "$(jq '(.protocols | length) == 2 and (.extended_master_secret | not)' "$1.policy")" = true ] ||
            offered="not offered"
        jq -e --arg id "$id" --arg offered "$offered" \
            'any(.id == $id and (.finding | startswith($offered)))' "$1.testssl" >/dev/null ||
            wrong "$1" "testssl.sh, $id: not \"$offered\""
    done
    local finding
    while IFS= read -r finding; do
        wrong "$1" "testssl.sh: $finding"
    done < <(not_allowed "$1")
    jq -r --arg policy "$1" '(map(select(.severity == "OK")) | length) as $good
        | "\($policy): \(length) findings, of which \($good) are good"' "$1.testssl"
}

# not_allowed NAME prints the findings in NAME.testssl that count.
not_allowed() {
    jq -r '$ARGS.positional as $allowed | .[]
        | select(.severity | IN("OK", "INFO", "LOW", "DEBUG") | not)
        # With two certificates it says of which it speaks: "cert_revocation <cert#2>".
        | "\(.id | sub(" <.*"; "")): \(.finding)" as $found
        | select(any($allowed[]; . as $start | $found | startswith($start)) | not)
        | "\(.id), \(.severity): \(.finding)"' "$1.testssl" --args "${allowed[@]}"
}

# check_testssl_refuses NAME: the scan of a server that offers everything has findings that count.
check_testssl_refuses() {
    not_allowed "$1" >"$1.found" 2>/dev/null || true
    grep -q '^cipherlist_aNULL, ' "$1.found" ||
        wrong "$1" "testssl.sh does not object to suites without a certificate: $(tail -3 "$1.told")"
}
