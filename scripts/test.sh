#!/usr/bin/env bash
# Run every check: format, lint, types, import contracts, tests, then the kernel tests in private namespaces.
# Arguments go to both runs of pytest. Stops at the first check that fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

run() {
    printf '\n== %s\n' "$*"
    ".venv/bin/$1" "${@:2}"
}

run ruff check --quiet
run ruff format --check --quiet
run mypy
run lint-imports
run python -m pytest "$@"
run python -m pytest --kernel "$@"
