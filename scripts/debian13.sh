# shellcheck shell=bash disable=SC2154
# Packages of Debian 13 (trixie) for the tests, whose OpenSSL is newer than that of Debian 12. To be
# sourced after lib.sh. Nothing of the system is touched: apt gets sources, lists and a cache of its
# own, and the packages are unpacked, not installed.

# Their files stay here; for newer ones, delete it.
debian13=$root/target/debian13
# All of them at once, because the list of packages is larger than they are.
debian13_packages=(openssl-provider-fips openssl libssl3t64 libc6 libzstd1 zlib1g)
debian13_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# unpack_debian13 DIR PACKAGE... unpacks packages, which are fetched first if they are not there.
unpack_debian13() {
    local dir=$1 package
    shift
    fetch_debian13
    for package in "$@"; do
        dpkg -x "$(debian13_file "$package")" "$dir" && continue
        rm -f "$(debian13_file "$package")"
        die "the file of $package was broken and is gone; the next run fetches it again"
    done
}

# debian13_file PACKAGE prints the path of its file; nothing is there if that has not been fetched.
debian13_file() {
    local files=("$debian13/$1"_*_"$(dpkg --print-architecture)".deb)
    printf '%s\n' "${files[-1]}"
}

debian13_is_complete() {
    local package
    for package in "${debian13_packages[@]}"; do
        [ -e "$(debian13_file "$package")" ] || return
    done
}

# Fetches the packages, one run at a time.
fetch_debian13() (
    ! debian13_is_complete || exit 0
    [ -e "$debian13_keyring" ] || die "no $debian13_keyring, so that nobody could tell whether packages" \
        "come from Debian; as root: apt-get update && apt-get install -y debian-archive-keyring"
    mkdir -p "$debian13"
    exec 8>"$debian13/lock"
    flock 8
    ! debian13_is_complete || exit 0
    # What a run left that was killed.
    rm -rf "$debian13"/stage.*
    place=$(mktemp -d "$debian13/stage.XXXXXX") || exit 3
    trap 'rm -rf "$place"' EXIT
    # As root, apt downloads as a user that has nothing else.
    chmod 755 "$place"
    mkdir -p "$place"/{lists/partial,cache/archives/partial,packages}

    # The mirror of this machine, if it has one of Debian's archive.
    # shellcheck disable=SC2016 # apt expands it
    uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk '!found && /^https?:.*\/debian\/?$/ { print; found = 1 }')
    uri=${uri:-http://deb.debian.org/debian}
    # There may be a password in it.
    (umask 077 && echo "deb [signed-by=$debian13_keyring] $uri trixie main" >"$place/sources.list")
    shown=${uri/\/\/*@/\/\/}
    # What the system does after an update of its own lists, it does not after this one.
    cat >"$place/apt.conf" <<'END'
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb;
Acquire::IndexTargets::deb::Packages {
    MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
    ShortDescription "Packages";
    Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";
};
Acquire::Languages "none";
Acquire::Retries "2";
APT::Update::Error-Mode "any";
END
    local own=(-c "$place/apt.conf" -q -o "APT::Architectures=$(dpkg --print-architecture)"
        -o "Dir::Etc::sourcelist=$place/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$place/lists" -o "Dir::Cache=$place/cache")
    echo "fetching packages of Debian 13 from $shown" >&2
    if ! { apt-get "${own[@]}" update && cd "$place/packages" &&
        apt-get "${own[@]}" download "${debian13_packages[@]}"; } >"$place/log" 2>&1; then
        cat "$place/log" >&2
        die "the packages could not be fetched from $shown"
    fi
    rm -f "$debian13"/*.deb
    mv "$place"/packages/*.deb "$debian13"
)
