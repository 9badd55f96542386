#!/usr/bin/env bash
# Run every check: format, lint, types, import contracts, tests, and the kernel tests in private namespaces.
# The kernel tests, which mostly wait, run beside the rest; what they say comes at the end. Arguments go to both runs of
# pytest. Stops at the first check that fails, but never in the middle of one of the two runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

run() {
    printf '\n== %s\n' "$*"
    ".venv/bin/$1" "${@:2}"
}

run ruff check --quiet
run ruff format --check --quiet
run lint-imports

kernel_says="$(mktemp)"
.venv/bin/python -m pytest --kernel "$@" >"$kernel_says" 2>&1 &
kernel=$!
trap 'kill "$kernel" 2>/dev/null || true; rm -f "$kernel_says"' EXIT

status=0
run mypy || status=$?
[ "$status" -ne 0 ] || run python -m pytest "$@" || status=$?
wait "$kernel" || status=$?
printf '\n== python -m pytest --kernel %s\n' "$*"
cat "$kernel_says"
exit "$status"
