#!/usr/bin/env bash
# Run the long tests, then the long kernel tests, then the kernel tests of drivers on a stock Debian kernel under qemu.
# Arguments go to the first two runs of pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# soak ARGUMENT... : pytest's status 5 says that no test was selected, which is no failure of the others.
soak() {
    .venv/bin/python -m pytest -m soak --timeout=3600 "$@" || { local status=$?; [ "$status" -eq 5 ] || exit "$status"; }
}

soak "$@"
soak --kernel "$@"

# Kinds that this kernel may lack, on one that has them; 77 says that there is no such kernel to be had here.
scripts/soak_stock_kernel.sh || { status=$?; [ "$status" -eq 77 ] || exit "$status"; }
