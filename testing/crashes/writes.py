"""Torn writes: every state in which a death can leave the files of an SQLite log within one commit or checkpoint.

A commit writes frames behind the write-ahead log's valid end, for each its header and its page (the format: section 4,
"The Write-Ahead Log", of https://www.sqlite.org/fileformat2.html); when everything before has been checkpointed it
begins the file anew, over what lies there. A checkpoint writes pages into the main file while the write-ahead log still
holds them all.
Keeps: `commits` yields states that lack the commit, `checkpoints` states that lack nothing.
Knows nothing of: SQLite's library, events.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
PAGE_BYTES = 4096
"""SQLite's own choice, which a ledger leaves as it is."""

MAGICS = (0x377F0682, 0x377F0683)


class Torn(NamedTuple):
    """What a file holds after a death, and in which way it is torn."""

    content: bytes
    how: str
    where: str


class Frame(NamedTuple):
    """Where in the log a frame is, and whether it is the last one of its commit."""

    begin: int
    end: int
    commits: bool


def commits(before: bytes, after: bytes, valid: int) -> Iterator[Torn]:
    """Yield the states of a write-ahead log between two commits; `valid`: where the first of them ends, 0 for none.

    It is cut at and within every write, as a process that dies leaves it; and of all writes one is missing, as a power
    failure may leave those that no fsync had followed yet.
    """
    return (torn for torn in _commits(before, after, valid) if torn.content != after)


def _commits(before: bytes, after: bytes, valid: int) -> Iterator[Torn]:
    start, frames = new_frames(before, after, valid)
    overwritten = before[start:]

    def cut(end: int) -> bytes:
        return before[:start] + after[start:end] + overwritten[end - start :]

    if start == 0:
        yield Torn(cut(WAL_HEADER_BYTES // 2), "torn log header", "within the log's header")
        yield Torn(cut(WAL_HEADER_BYTES), "log header alone", "after the log's header")
    last = len(frames)
    for number, (begin, end, _) in enumerate(frames, 1):
        page = begin + FRAME_HEADER_BYTES
        name = f"frame {number} of {last}"
        yield Torn(cut(begin + FRAME_HEADER_BYTES // 2), "torn frame header", f"within the header of {name}")
        yield Torn(cut(page), "frame without page", f"after the header of {name}")
        yield Torn(cut((page + end) // 2), "torn page", f"within the page of {name}")
        if number < last:
            yield Torn(cut(end), "frames without commit", f"after {name}")
    for number, (begin, end, _) in enumerate(frames, 1):
        old = before[begin:end].ljust(end - begin, b"\0")
        yield Torn(after[:begin] + old + after[end:], "missing frame", f"without frame {number} of {last}")


def new_frames(before: bytes, after: bytes, valid: int) -> tuple[int, list[Frame]]:
    """Find what a commit wrote: where it began, 0 where it began the log anew, and its frames."""
    magic, _, page_size = struct.unpack(">3I", after[:12])
    assert magic in MAGICS, "it is a write-ahead log"
    assert page_size == PAGE_BYTES, "a ledger leaves SQLite's page size as it is"
    is_anew = not valid or before[:WAL_HEADER_BYTES] != after[:WAL_HEADER_BYTES]
    begin = WAL_HEADER_BYTES if is_anew else valid
    frames: list[Frame] = []
    while not frames or not frames[-1].commits:
        end = begin + FRAME_HEADER_BYTES + page_size
        assert end <= len(after), "a commit ends with the frame that says so"
        assert after[begin + 8 : begin + 16] == after[16:24], "every frame has the log's salts"
        frames.append(Frame(begin, end, commits=any(after[begin + 4 : begin + 8])))
        begin = end
    assert after[begin:] == before[begin:], "nothing is written behind it"
    assert is_anew or before[:valid] == after[:valid], "nothing is written before it"
    return 0 if is_anew else valid, frames


def end_of(frames: int) -> int:
    """Say where a log of so many frames ends, 0 for none."""
    return WAL_HEADER_BYTES + frames * (FRAME_HEADER_BYTES + PAGE_BYTES) if frames else 0


def has_remnants(log: bytes, valid: int) -> bool:
    """Whether frames of a commit that was torn lie behind a log's valid end, be the first of them missing."""
    begins = range(valid or WAL_HEADER_BYTES, len(log), FRAME_HEADER_BYTES + PAGE_BYTES)
    return any(log[begin + 8 : begin + 16] == log[16:24] for begin in begins)


def checkpoints(before: bytes, after: bytes) -> Iterator[Torn]:
    """Yield the states of the main file between before and after a checkpoint, the write-ahead log being whole.

    It is cut at and within every page, and of all pages one is there alone: before the fsync no order is promised.
    """
    page_size = struct.unpack(">H", after[16:18])[0]
    old = before.ljust(len(after), b"\0")
    changed = [
        begin
        for begin in range(0, len(after), page_size)
        if before[begin : begin + page_size] != after[begin : begin + page_size]
    ]
    content = before
    for begin in changed:
        number = begin // page_size + 1
        middle, end = begin + page_size // 2, begin + page_size
        alone = old[:begin] + after[begin:end] + old[end:]
        yield Torn(alone, "page alone in the main file", f"page {number} alone")
        padded = content.ljust(begin, b"\0")
        yield Torn(padded[:begin] + after[begin:middle] + padded[middle:], "torn page in the main file", f"in {number}")
        content = padded[:begin] + after[begin:end] + padded[end:]
        yield Torn(content, "pages in the main file", f"after page {number}")
