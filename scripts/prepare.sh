#!/usr/bin/env bash
# Prepare this checkout: the system's network tools, then .venv from the lock file. Does only what is missing.
#
# Needs python3, 3.11 or newer. As root on Debian and its children it installs the tools that are missing; as an
# ordinary user it says what to install. Only the Python environment is indispensable: without the network tools the
# tests that need them are skipped, and say so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'prepare: %s\n' "$*" >&2; }

# A service account may have no home of its own. Then every cache lives here.
if [ ! -d "${HOME:-}" ] || [ ! -w "${HOME:-}" ]; then
    mkdir -p .cache/home
    export HOME="$PWD/.cache/home"
    unset XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME
fi
# uv reads no pip settings. Let it trust the authority that pip was told to trust.
if [ -n "${PIP_CERT:-}" ] && [ -z "${SSL_CERT_FILE:-}" ]; then
    export SSL_CERT_FILE="$PIP_CERT"
fi
export UV_LINK_MODE="${UV_LINK_MODE:-copy}" UV_NO_PROGRESS=1
unset VIRTUAL_ENV PYTHONHOME PYTHONPATH

# install_packages PACKAGE... : true when apt installed them. Never stops the script.
install_packages() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        say "missing: $*. Install them (on Debian: apt-get install $*)"
        return 1
    fi
    say "installing $*"
    export DEBIAN_FRONTEND="${DEBIAN_FRONTEND:-noninteractive}"
    if ! { apt-get update -q && apt-get install -q -y --no-install-recommends "$@"; } >&2 </dev/null; then
        say "apt-get could not install: $*"
        return 1
    fi
}

prepare_system() {
    local missing=() PATH="$PATH:/usr/sbin:/sbin"
    command -v ip >/dev/null || missing+=(iproute2)
    command -v iptables >/dev/null || missing+=(iptables)
    command -v nft >/dev/null || missing+=(nftables)
    [[ "$(ldconfig -p 2>/dev/null)" == *libnftables.so.1* ]] || missing+=(libnftables1)
    if [ "${#missing[@]}" -gt 0 ]; then
        install_packages "${missing[@]}" || say "going on without: the tests that need them will not run"
    fi
}

# uv, which reads the lock file, in the version that the lock file names. pip knows the machine's mirrors, so it goes
# first; Debian's python3 may lack it.
prepare_uv() {
    local version
    version="$(python3 scripts/fetch_uv.py --version)"
    if [ "$("$tools/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" = "$version" ]; then
        return
    fi
    rm -rf "$tools"
    if has_venv || { ! python3 scripts/fetch_uv.py "$tools/bin" && install_packages python3-venv; }; then
        python3 -m venv "$tools"
        "$tools/bin/python" -m pip install -qq --disable-pip-version-check "uv==$version" ||
            python3 scripts/fetch_uv.py "$tools/bin" || true
    fi
    if ! "$tools/bin/uv" --version >/dev/null; then
        say "there is no way here to get uv $version (see above)"
        exit 1
    fi
}

has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

# What .venv is bound to: when this changed, it is made anew.
place() {
    printf '%s\n' "$PWD" "$(python3 -c 'import sys; print(sys.executable, sys.version)')"
}

# What .venv holds: when this did not change, there is nothing to do.
content() {
    sha256sum uv.lock pyproject.toml scripts/prepare.sh
    command -v cc || true
}

# The same versions, held to the same hashes, from wherever pip is told to look.
install_with_pip() {
    local pip=("$tools/bin/python" -m pip --python .venv/bin/python install -qq --disable-pip-version-check)
    mkdir -p .cache
    "$tools/bin/uv" export --quiet --frozen --group dev --no-emit-project --output-file .cache/requirements.txt
    "${pip[@]}" --require-hashes --requirement .cache/requirements.txt
    "${pip[@]}" --no-deps --editable .
}

prepare_environment() {
    local place content python
    place="$(place)"
    content="$(content)"
    if [ "$(cat .venv/place 2>/dev/null)" = "$place" ] && [ "$(cat .venv/content 2>/dev/null)" = "$content" ] &&
        .venv/bin/python -c 'import netledger' 2>/dev/null; then
        return
    fi
    prepare_uv
    say "making .venv from uv.lock"
    if [ "$(cat .venv/place 2>/dev/null)" != "$place" ] || ! .venv/bin/python -c '' 2>/dev/null; then
        python="$(python3 -c 'import sys; print(sys.executable)')"
        "$tools/bin/uv" venv --quiet --clear --no-project --python "$python" .venv
        printf '%s\n' "$place" >.venv/place
    fi
    rm -f .venv/content
    if ! "$tools/bin/uv" sync --quiet --locked --group dev; then
        say "uv could not make .venv from uv.lock (see above): trying pip, which may know another index"
        install_with_pip
    fi
    if ! command -v cc >/dev/null; then
        say "no C compiler: going on without python-iptables, the iptables firewall backend"
    elif ! "$tools/bin/uv" sync --quiet --locked --group dev --extra iptables; then
        say "python-iptables did not build (see above): going on without it, the iptables firewall backend"
    fi
    printf '%s\n' "$content" >.venv/content
}

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "python3 is missing or older than 3.11"
    exit 1
fi
readonly tools="$PWD/.venv-tools"
prepare_system
prepare_environment
