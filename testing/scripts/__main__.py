"""`python -m netledger.testing.scripts FILE...`: run script files; status 0, or 1 where an outcome is another."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .files import accepted, run_file
from .grammar import ScriptError, usage

DONE, DIFFERENT, WRONG = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the files that the arguments name, and tell every difference."""
    parser = argparse.ArgumentParser(
        prog="python -m netledger.testing.scripts",
        description="Run script files, each on a simulated host of its own, and tell where the outcome is another.",
        epilog=f"commands:\n{usage()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--accept", action="store_true", help="write what came into the files, where it is another")
    mode.add_argument("--check", action="store_true", help="write nothing; this is the default")
    asked = parser.parse_args(arguments)
    return max(_one(path, is_accepted=asked.accept) for path in asked.files)


def _one(path: Path, *, is_accepted: bool) -> int:
    try:
        program, differences = run_file(path)
    except (ScriptError, OSError, UnicodeDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command line prints
        return WRONG
    status = DONE
    for difference in differences:
        if is_accepted and difference.expected is not None:
            print(f"accepted: {path}:{difference.block.lines[0].number}: {difference.block.lines[0].text}")  # noqa: T201
        else:
            print(difference)  # noqa: T201
            status = DIFFERENT
    if is_accepted and differences:
        path.write_text(accepted(program, differences), encoding="utf-8")
    elif not differences:
        print(f"{path}: {len(program.blocks)} blocks as expected")  # noqa: T201
    return status


if __name__ == "__main__":
    sys.exit(main())
