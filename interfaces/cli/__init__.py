"""The command line: hands the arguments to the application and answers with an exit status."""

from .application import main, run

__all__ = ["main", "run"]
