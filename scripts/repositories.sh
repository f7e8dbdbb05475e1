# shellcheck shell=bash disable=SC2154
# Programs that take more than a file from our server: git, apt and pip. To be sourced by transfers.

# git over the dumb protocol: a bare repository as files.
check_git() {
    export GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
    local made=made.git number
    git init --quiet --initial-branch main tree
    git -C tree config user.name Somebody
    git -C tree config user.email somebody@example.com
    for number in 1 2 3; do
        head -c 200000 /dev/urandom >tree/large
        seq "$number" 5000 >"tree/a file, number $number"
        git -C tree add .
        git -C tree commit --quiet --message "Change $number"
        # What is in packs, and what is not.
        [ "$number" != 2 ] || git -C tree gc --quiet
    done
    git -C tree tag --annotate --message Release v1
    git clone --quiet --bare --no-hardlinks tree "files/$made"
    head -c 1000 /dev/urandom >tree/late
    git -C tree add . && git -C tree commit --quiet --message "Loose"
    git -C tree push --quiet "../files/$made" main
    git -C "files/$made" update-server-info

    timeout 60 git -c http.sslCAInfo="$ca" clone --quiet "$url/$made" cloned
    git -C cloned fsck --full --strict
    is "the head" "$(git -C cloned rev-parse HEAD 'v1^{tree}' 'HEAD^{tree}')" \
        "$(git -C tree rev-parse HEAD 'v1^{tree}' 'HEAD^{tree}')"
    same cloned/large tree/large
    # Another one, with what has changed in between.
    git -C tree commit --quiet --allow-empty --message "Later"
    git -C tree push --quiet "../files/$made" main
    git -C "files/$made" update-server-info
    timeout 60 git -C cloned -c http.sslCAInfo="$ca" pull --quiet --ff-only
    is "the head" "$(git -C cloned rev-parse HEAD)" "$(git -C tree rev-parse HEAD)"
    [ "$(answers "/$made/info/refs?service=git-upload-pack" length)" -ge 2 ] || fail "no git was here"
}

# make_package makes a package of Debian, and the repository of it and nothing else.
make_package() {
    mkdir -p package/DEBIAN package/usr/share/sealed files/debian
    cat >package/DEBIAN/control <<END
Package: sealed
Version: 1.0
Architecture: all
Maintainer: Somebody <somebody@example.com>
Description: nothing but bytes
END
    head -c 600000 /dev/urandom >package/usr/share/sealed/bytes
    # dpkg-deb insists on these, whatever the mask.
    chmod 755 package package/DEBIAN package/usr package/usr/share package/usr/share/sealed
    dpkg-deb --root-owner-group --build package files/debian/sealed_1.0_all.deb
    (
        cd files/debian || exit
        dpkg-scanpackages --multiversion . >Packages
        cat >Release <<END
Date: $(LC_ALL=C date -u -R)
SHA256:
 $(digest Packages) $(stat -c %s Packages) Packages
END
    )
    # Apt asks for the rest of what has this date, which is good for it when the second is over.
    local made
    made=$(stat -c %Y files/debian/*.deb)
    soon later_than "$made"
}

later_than() {
    [ "$(date +%s)" -gt "$1" ]
}

# apt_get PORT ARGUMENT... runs it with folders of its own: the system's lists, caches and packages are not touched.
apt_get() {
    mkdir -p apt/etc/apt.conf.d apt/etc/preferences.d apt/etc/trusted.gpg.d apt/etc/auth.conf.d apt/lists/partial \
        apt/cache/archives/partial apt/log root/var/lib/dpkg/info root/var/lib/dpkg/updates
    touch root/var/lib/dpkg/status root/var/lib/dpkg/available
    echo "deb [trusted=yes] https://localhost:$1/debian ./" >apt/etc/sources.list
    # Of the settings only APT_CONFIG is read before those of the system.
    cat >apt/settings <<END
Dir::Etc "$work/apt/etc";
Dir::Etc::sourceparts "/dev/null";
Dir::State "$work/apt";
Dir::State::status "$work/root/var/lib/dpkg/status";
Dir::Cache "$work/apt/cache";
Dir::Log "$work/apt/log";
APT::Architecture "$(dpkg --print-architecture)";
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::https::CAInfo "$ca";
Acquire::https::Proxy "false";
Acquire::Retries "0";
DPkg::Options { "--root=$work/root"; "--force-not-root"; "--force-bad-path"; "--log=$work/apt/log/dpkg.log"; };
END
    APT_CONFIG=$work/apt/settings LC_ALL=C DEBIAN_FRONTEND=noninteractive timeout 60 apt-get --quiet --assume-yes "${@:2}"
}

check_apt() {
    make_package
    apt_get "$port" update
    apt_get "$port" install sealed
    same root/usr/share/sealed/bytes package/usr/share/sealed/bytes
    # A second update finds that nothing has changed.
    apt_get "$port" update
    is "the answers" "$(answers /debian/./Release 'map(.status)')" "[200,304]"
}

check_apt_resumes() {
    rm -rf apt root
    # The first connection is for the lists, and shorter than that.
    broken apt-way "$port" 300000 2
    local way
    way=$(cat apt-way.port)
    apt_get "$way" update
    fails_with 100 apt_get "$way" --download-only install sealed
    [ -s apt/cache/archives/partial/sealed_1.0_all.deb ] || fail "apt keeps no part"
    apt_get "$way" --download-only install sealed
    same apt/cache/archives/sealed_1.0_all.deb files/debian/sealed_1.0_all.deb
    soon has_part /debian/./sealed_1.0_all.deb
}

# make_wheel makes a wheel: an archive with a module, and what it is.
make_wheel() {
    python3 - "$1" <<'END'
import base64, hashlib, os, sys, zipfile

name = "sealed_wheel"
info = f"{name}-1.0.dist-info"
files = {
    f"{name}.py": b"answer = 42\nbytes = " + repr(os.urandom(300000)).encode() + b"\n",
    f"{info}/METADATA": b"Metadata-Version: 2.1\nName: sealed-wheel\nVersion: 1.0\n",
    f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
record = "".join(
    f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
    for path, data in files.items()
)
files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    for path, data in files.items():
        wheel.writestr(path, data)
END
}

check_pip() {
    local wheel=sealed_wheel-1.0-py3-none-any.whl
    mkdir -p files/simple/sealed-wheel
    make_wheel "files/simple/sealed-wheel/$wheel"
    echo "sealed-wheel==1.0 --hash=sha256:$(digest "files/simple/sealed-wheel/$wheel")" >requirements
    local pip=("$venv/bin/pip" --isolated --disable-pip-version-check --no-cache-dir --no-input --cert "$ca")
    timeout 60 "${pip[@]}" download --no-deps --index-url "$url/simple/" --dest wheels sealed-wheel
    same "wheels/$wheel" "files/simple/sealed-wheel/$wheel"
    timeout 60 "${pip[@]}" install --no-deps --index-url "$url/simple/" --require-hashes --requirement requirements \
        --target installed
    is "the module's answer" "$(PYTHONPATH=installed python3 -c 'import sealed_wheel; print(sealed_wheel.answer)')" 42
    [ "$(answers /simple/sealed-wheel/ length)" -ge 2 ] || fail "our listing was not asked"
}

check_repositories() {
    check "git $(git version | cut -d ' ' -f 3): clone and pull over the dumb protocol, packs and loose objects: fsck, same objects" \
        check_git
    check "apt $(apt-get --version | sed -n '1s/^apt \([^ ]*\).*/\1/p'): update, install into a root of its own, second update 304: same bytes" \
        check_apt
    check "apt: a package whose connection was cut resumes from partial/: same bytes" check_apt_resumes
    check "pip $("$venv/bin/pip" --version | cut -d ' ' -f 2): download and install by hash, our listing as its index: same bytes" \
        check_pip
}
