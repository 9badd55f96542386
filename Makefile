# Everything runs from .venv, which scripts/prepare.sh makes from uv.lock.
.DEFAULT_GOAL := help
.PHONY: help prepare run test soak bench clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

prepare: ## make .venv, and install the missing network tools when run as root
	@scripts/prepare.sh

run: prepare ## take the tour
	@.venv/bin/netledger tour

test: prepare ## run every check: format, lint, types, import contracts, tests, kernel tests
	@scripts/test.sh

soak: prepare ## run the long tests
	@scripts/soak.sh

bench: prepare ## run the benchmarks
	@.venv/bin/python -m benchmarks

clean: ## remove everything that make prepared or left behind
	rm -rf .venv .venv-tools .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist
	find . -name .git -prune -o -type d -name __pycache__ -exec rm -rf {} +
