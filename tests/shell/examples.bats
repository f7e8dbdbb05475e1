#!/usr/bin/env bats
# The examples of the libraries, against each other and against the programs.

bats_require_minimum_version 1.5.0
load helper

# The examples stand beside the programs.
example() {
    local name=$1
    shift
    "$(dirname "$(command -v sealpair)")/examples/$name" "$@"
}

# start_example NAME ARGUMENT... starts a server that prints "listening on ADDRESS"; sets $url.
start_example() {
    example "$@" localhost:0 >listening 3>&- &
    server=$!
    for _ in $(seq 100); do
        grep -q '^listening on' listening && break
        sleep 0.1
    done
    url="https://localhost:$(sed 's/.*://' listening)/"
}

@test "a local authority, a hello server, a client that trusts it" {
    example local_ca . localhost
    start_example hello server.pem server.key
    run --separate-stderr example private_ca ca.pem "$url"
    [ "$status" -eq 0 ]
    [ "$output" = "Hello, HTTPS!" ]
    [[ "$stderr" == *TLSv1.3* ]]
    [ "$(sealpair get --ca ca.pem "$url")" = "Hello, HTTPS!" ]
}

@test "mutual TLS, and a refusal that is explained" {
    example local_ca . localhost
    sealpair cert issue --quiet --client alice
    start_example mutual_tls_server server.pem server.key ca.pem
    run example mutual_tls_client ca.pem alice.pem alice.key "$url"
    [ "$status" -eq 0 ]
    [[ "$output" == *"Hello, CN=alice"* ]]
    sealpair cert init --quiet --dir other
    sealpair cert issue --quiet --client mallory --ca other/ca.pem --ca-key other/ca.key
    run example mutual_tls_client ca.pem mallory.pem mallory.key "$url"
    [ "$status" -eq 1 ]
    [[ "$output" == *"refused our client certificate"* ]]
    [[ "$output" == *"an authority that the server trusts"* ]]
}
