"""The append-only log: `ledger.py` is what others use, over the recorders `sqlite.py` and `memory.py`.

Nothing is imported here: `eventsourcing` is slow to load, and whoever opens no ledger does not need it.
"""
