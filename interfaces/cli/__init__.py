"""The command line: hands the arguments to the application and answers with an exit status."""

from __future__ import annotations

import sys


def main() -> None:
    """Say that the command line has no commands yet, and leave with status 2."""
    sys.exit("netledger: no commands yet")
