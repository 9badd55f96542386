#!/usr/bin/env bash
# Run every check: format, lint, types, import contracts, tests, and the kernel tests in private namespaces.
# The kernel tests, which mostly wait, run beside the rest in two parts; the crash exploration follows the shorter one, so
# that all three take about as long. What the first two say comes at the end.
# Arguments go to all runs of pytest. Stops at the first check that fails, but never in the middle of a run of pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

run() {
    printf '\n== %s\n' "$*"
    ".venv/bin/$1" "${@:2}"
}

run ruff check --quiet
run ruff format --check --quiet
run lint-imports

readonly drivers=(--kernel tests/kernel/linux) others=(--kernel --ignore=tests/kernel/linux) crashes=(tests/testing/crashes)

# others ARGUMENT... : the other kernel tests, then the crash exploration; fails if either does.
others() {
    local status=0
    .venv/bin/python -m pytest "${others[@]}" "$@" || status=$?
    printf '\n== python -m pytest %s\n' "${crashes[*]} $*"
    .venv/bin/python -m pytest "${crashes[@]}" "$@" || status=$?
    return "$status"
}

said="$(mktemp -d)"
.venv/bin/python -m pytest "${drivers[@]}" "$@" >"$said/drivers" 2>&1 &
drivers_run=$!
others "$@" >"$said/others" 2>&1 &
others_run=$!
trap 'kill "$drivers_run" "$others_run" 2>/dev/null || true; rm -rf "$said"' EXIT

status=0
run mypy || status=$?
[ "$status" -ne 0 ] || run python -m pytest --ignore="${crashes[0]}" "$@" || status=$?
wait "$drivers_run" || status=$?
wait "$others_run" || status=$?
printf '\n== python -m pytest %s\n' "${drivers[*]} $*"
cat "$said/drivers"
printf '\n== python -m pytest %s\n' "${others[*]} $*"
cat "$said/others"
exit "$status"
