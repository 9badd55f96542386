#!/usr/bin/env bash
# Run kernel tests on a stock Debian kernel under qemu, which has what others lack: ipvlan, 802.1Q, dummy. Arguments go
# to pytest, after the tests' files. The processor is emulated, so that it runs anywhere: the boot takes half a minute.
#
# Nothing of the machine is changed but packages: qemu-system-x86, kmod and busybox-static are installed if they are
# missing and apt can; the kernel is unpacked into .cache/stock-kernel, and linked under /lib/modules while the tests run. Without root, apt
# or the packages it says so and ends with status 77.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly cache="$PWD/.cache/stock-kernel" root="$PWD/.cache/stock-kernel/root"
readonly tests=(tests/kernel/linux/test_{ipvlan,vlan,macvlan,bridge_options,contract}.py)

say() { printf 'soak_stock_kernel: %s\n' "$*" >&2; }
give_up() { say "not run: $*"; exit 77; }

prepare_tools() {
    PATH="$cache/tools/bin:$PATH:/usr/sbin:/sbin"
    local missing=()
    command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
    command -v depmod >/dev/null || missing+=(kmod)
    command -v busybox >/dev/null || missing+=(busybox-static)
    command -v script >/dev/null || missing+=(bsdutils)
    if [ "${#missing[@]}" -gt 0 ]; then
        say "installing ${missing[*]}"
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } \
            >&2 </dev/null || give_up "apt-get could not install ${missing[*]}"
    fi
    if [ ! -x "$cache/tools/bin/vng" ]; then
        local uv=.venv-tools/bin/uv
        "$uv" venv -q --python .venv/bin/python "$cache/tools" &&
            "$uv" pip install -q --python "$cache/tools/bin/python" virtme-ng setuptools ||
            give_up "virtme-ng could not be installed from PyPI"
    fi
}

prepare_kernel() {
    local package
    if ! compgen -G "$root/boot/vmlinuz-*" >/dev/null; then
        package="$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ {print $2; exit}')"
        [ -n "$package" ] || give_up "apt knows no linux-image-amd64"
        (mkdir -p "$cache/download" && cd "$cache/download" && apt-get download -q "$package") >&2 ||
            give_up "$package could not be downloaded"
        mkdir -p "$root.new"
        dpkg -x "$cache"/download/linux-image-*.deb "$root.new"
        rm -rf "$root" "$cache/download"
        mv "$root.new" "$root"
    fi
    version="$(basename "$(ls -d "$root"/lib/modules/*)")"
    depmod -b "$root" "$version"
    printf '#!/bin/sh\nexec %s -d %s "$@"\n' "$(command -v modprobe)" "$root" >"$cache/modprobe"
    chmod +x "$cache/modprobe"
}

# What the guest does: it sees this machine's files, and its own kernel's modules through the link.
write_guest_program() {
    {
        printf 'export PATH=%q HOME=/tmp\n' "$PATH"
        printf 'echo %q >/proc/sys/kernel/modprobe\n' "$cache/modprobe"
        printf 'for module in bridge veth macvlan ipvlan 8021q dummy af_packet nf_tables; do %q $module; done\n' "$cache/modprobe"
        printf 'mount -t tmpfs tmpfs /run; mkdir -p /run/netns; cd %q\n' "$PWD"
        printf '.venv/bin/python -m pytest --kernel -p no:cacheprovider --timeout=1800 -rs -v'
        printf ' %q' "${tests[@]}" "$@"
        printf '\necho "pytest ended with status $?"\n'
    } >"$cache/guest.sh"
}

[ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || give_up "it takes root and apt-get"
mkdir -p "$cache"
prepare_tools
prepare_kernel
write_guest_program "$@"
link="/lib/modules/$version"
if [ ! -e "$link" ]; then
    mkdir -p /lib/modules
    ln -s "$root$link" "$link"
    trap 'rm -f "$link"' EXIT
fi
boot=("$cache/tools/bin/vng" -v --run "$root/boot/vmlinuz-$version" --force-9p --memory 2G --cpus 2)
boot+=(--disable-kvm) # a /dev/kvm that is there need not work: in many virtual machines it does not
boot+=(-- "bash $cache/guest.sh")
say "booting Linux $version"
script -qfec "$(printf '%q ' "${boot[@]}")" "$cache/log" </dev/null || true
grep -q 'pytest ended with status 0' "$cache/log" || { say "failed; what it said is in $cache/log"; exit 1; }
