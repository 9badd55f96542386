"""Contracts as test suites: subclass one, give it a dataplane, driver or recorder of your own, and run pytest."""
