#!/usr/bin/env bash
# Run the long tests, then the long kernel tests. Arguments go to both runs of pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# soak ARGUMENT... : pytest's status 5 says that no test was selected, which is no failure of the others.
soak() {
    .venv/bin/python -m pytest -m soak --timeout=3600 "$@" || { local status=$?; [ "$status" -eq 5 ] || exit "$status"; }
}

soak "$@"
soak --kernel "$@"
