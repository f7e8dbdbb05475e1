# shellcheck shell=bash disable=SC2034
# Shared by the scripts: finding the repository, and what the system must have. To be sourced.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 3

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 3; }

# need_packages PACKAGE... installs the Debian or Ubuntu packages that are missing, or prints the line
# that would.
need_packages() {
    local missing=() package
    command -v dpkg-query >/dev/null || {
        echo "not a Debian or Ubuntu system; this needs the equivalents of: $*" >&2
        return 0
    }
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local line="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    if [ "$(id -u)" = 0 ]; then
        install_packages "${missing[@]}"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n bash -c "$(declare -f install_packages); install_packages ${missing[*]}"
    else
        die "packages are missing; as root: $line"
    fi
}

# Installs as root, without letting a package (nginx) start a service on this machine.
install_packages() {
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made=1
    fi
    echo "installing: $*"
    DEBIAN_FRONTEND=noninteractive apt-get update -q >/dev/null &&
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >/dev/null
    local status=$?
    [ -z "$made" ] || rm -f "$policy"
    return $status
}

need_rust() {
    command -v cargo >/dev/null || die "cargo is missing; install Rust from https://rustup.rs"
}

# What building against the system's OpenSSL takes.
build_packages=(gcc libc6-dev libssl-dev pkg-config)
