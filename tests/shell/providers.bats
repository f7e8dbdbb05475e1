#!/usr/bin/env bats
# scripts/fips-provider and scripts/peer-openssl: what they make works, is made once, and is mended.

bats_require_minimum_version 1.5.0

setup() {
    root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
    work=$(mktemp -d)
    cd "$work" || return 1
}

teardown() {
    cd / && rm -rf "$work"
}

# md5 says whether OpenSSL computes an MD5 digest, which no FIPS provider does.
md5() { echo | openssl dgst -md5 >/dev/null 2>&1; }

@test "the settings activate a FIPS provider, and nothing that is not approved" {
    settings=$("$root/scripts/fips-provider")
    md5
    eval "$settings"
    openssl list -providers | grep -A 3 '^  fips$' | grep -q 'status: active'
    echo | openssl dgst -sha256
    run md5
    [ "$status" -ne 0 ]
}

@test "a program may load the provider that is only described" {
    eval "$("$root/scripts/fips-provider")"
    export OPENSSL_CONF=${OPENSSL_CONF%.cnf}-described.cnf
    md5
    run -0 openssl list -providers
    [[ "$output" != *FIPS* ]]
    run -0 openssl list -providers -provider fips
    [[ "$output" == *FIPS* ]]
    run ! openssl dgst -md5 -provider fips -propquery fips=yes /dev/null
    openssl dgst -sha256 -provider fips -propquery fips=yes /dev/null
}

@test "standard output is for the shell, standard error for people" {
    run -0 --separate-stderr "$root/scripts/fips-provider" 'a directory'
    [ "${#lines[@]}" -eq 2 ]
    [[ "${lines[0]}" == "export OPENSSL_CONF="* && "${lines[1]}" == "export OPENSSL_MODULES="* ]]
    [[ "$stderr" == *"FIPS"* && "$stderr" == *" validated "* ]]
    eval "$output"
    [ "$OPENSSL_CONF" = "$work/a directory/openssl.cnf" ]
    openssl list -providers | grep -q FIPS
}

@test "settings of an earlier run, also useless ones, do not disturb" {
    export OPENSSL_CONF=/nowhere OPENSSL_MODULES=/nowhere
    run -0 --separate-stderr "$root/scripts/fips-provider"
    [[ "$output" != *nowhere* ]]
    run -0 --separate-stderr "$root/scripts/peer-openssl"
    run -0 "$output" list -kem-algorithms
}

@test "several at once all succeed, and a second run changes nothing" {
    pids=()
    for n in 1 2 3; do
        "$root/scripts/fips-provider" it >"$n" 2>"$n.err" 3>&- &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    cmp 1 2 && cmp 1 3
    stat -c '%n %i %Y' it/* >before
    "$root/scripts/fips-provider" it
    stat -c '%n %i %Y' it/* >after
    cmp before after
    run ls it
    [[ "$output" != *stage* ]]
}

@test "what is broken or missing is made again" {
    eval "$("$root/scripts/fips-provider" it)"
    module=$OPENSSL_MODULES/fips.so
    cp "$module" good
    for file in fipsmodule.cnf fipsmodule-described.cnf openssl.cnf openssl-described.cnf; do
        echo 'module-mac = 00' >"it/$file"
        OPENSSL_CONF='' "$root/scripts/fips-provider" it
        run ! grep -q '^module-mac = 00$' "it/$file"
        rm "it/$file"
        "$root/scripts/fips-provider" it
        openssl list -providers | grep -q FIPS
    done
    [ ! -L "$module" ] || skip "the system's own module is not ours to break"
    printf X | dd of="$module" bs=1 seek=100000 conv=notrunc status=none
    run -0 openssl list -providers
    [[ "$output" != *FIPS* ]]
    "$root/scripts/fips-provider" it
    cmp "$module" good
}

@test "a wrong use is 2, an impossible directory an error, and nothing is left" {
    for script in fips-provider peer-openssl; do
        run -2 "$root/scripts/$script" --nonsense
        run -2 "$root/scripts/$script" a b
        run -0 "$root/scripts/$script" --help
        [[ "${lines[*]}" == *"usage: "* ]]
        touch file
        run ! "$root/scripts/$script" file/below
    done
    run -3 "$root/scripts/fips-provider" 'a"b'
    [ "$(ls -A)" = file ]
}

@test "the peer has the post-quantum algorithms, and is its own whatever is set here" {
    run -0 --separate-stderr "$root/scripts/peer-openssl" 'a directory'
    [ "$output" = "$work/a directory/bin/openssl" ]
    peer=$output
    ln -s "$peer" link
    eval "$("$root/scripts/fips-provider")"
    for program in "$peer" ./link; do
        "$program" genpkey -algorithm ML-DSA-87 -out key
        "$program" list -tls-groups | grep -q X25519MLKEM768
        # The default provider.
        "$program" dgst -md5 key
    done
    rm "a directory/bin/openssl"
    "$root/scripts/peer-openssl" 'a directory'
    "$peer" version
}
