"""Run the command line: `python -m netledger`."""

from .interfaces.cli import main

if __name__ == "__main__":
    main()
