"""Run the benchmarks, one after the other, each in a process of its own.

    python -m benchmarks                    all
    python -m benchmarks attach --large     one, with its own options

docs/benchmarks.md says what they are measured against, and shows figures.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = ("ipam", "mix", "simulate", "attach", "growth", "firewall", "who")


def main() -> int:
    """Run what was asked for; return 1 if any of it failed."""
    if len(sys.argv) == 1:
        return max(run(name) for name in BENCHMARKS)
    name, *options = sys.argv[1:]
    if name not in BENCHMARKS:
        sys.exit(f"there is no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    return run(name, *options)


def run(name: str, *options: str) -> int:
    """Run one; its name first, for whoever reads along."""
    print(f"--- {name}", file=sys.stderr, flush=True)
    return int(
        subprocess.run([sys.executable, Path(__file__).with_name(f"{name}.py"), *options], check=False).returncode != 0
    )


if __name__ == "__main__":
    sys.exit(main())
