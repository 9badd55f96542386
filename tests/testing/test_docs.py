"""The examples of docs/testing.md, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netledger.testing import scripts
from tests.testing.test_plugin import PLUGIN
from tests.testing.transcript import SHOWN, VIOLATED, transcript

pytest_plugins = ["pytester"]

SHORTER = """
import hypothesis

hypothesis.settings.register_profile("shorter", max_examples=20)
hypothesis.settings.load_profile("shorter")
"""
"""That the examples run is shown by few of Hypothesis's; what they find is shown elsewhere."""

DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"


def test_every_example_is_a_test_that_passes(pytester: pytest.Pytester) -> None:
    """Each Python block is a test file of a user's, and all its tests pass."""
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    pytester.makepyfile(**{f"test_example{number}": block for number, block in enumerate(blocks)})
    pytester.makeconftest(SHORTER)
    result = pytester.runpytest_subprocess(*PLUGIN, "-p", "no:cacheprovider", timeout=100)
    outcomes = result.parseoutcomes()
    assert outcomes.keys() == {"passed", "skipped"}
    assert outcomes["skipped"] == 1, "the simulator cannot be without its rules"
    assert outcomes["passed"] > 40


def test_the_scripts_that_are_shown_have_their_outcomes(tmp_path: Path) -> None:
    """The examples of scripts play as they stand, and every command is in the table."""
    text = DOCUMENT.read_text(encoding="utf-8")
    examples = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    assert len(examples) >= 2
    for number, example in enumerate(examples):
        with scripts.Stage(tmp_path / str(number)) as stage:
            assert not scripts.run(scripts.parse(example), stage)
    table = re.search(r"\| lines \|.*?\n\n", text, re.DOTALL)[0]
    for line in scripts.usage().splitlines():
        for word in line.split()[:2]:
            if word.islower():
                assert re.search(rf"\b{word.split('|')[0]}\b", table), line


def test_the_run_that_is_shown_is_what_is_printed() -> None:
    """The transcript of a run that found something, line by line. Made anew by `python tests/testing/transcript.py`."""
    (command, shown) = SHOWN.search(DOCUMENT.read_text(encoding="utf-8")).groups()
    status, printed = transcript(command)
    assert status == VIOLATED
    assert printed == shown, "make it anew: python tests/testing/transcript.py"


def test_the_failure_that_is_shown_is_the_one_that_comes(pytester: pytest.Pytester) -> None:
    """The allocator of the example, with the line left out that the text names, fails with the text's calls."""
    text = DOCUMENT.read_text(encoding="utf-8")
    example = re.search(r"```python\n(import ipaddress.*?)```", text, re.DOTALL)[1]
    shown = re.search(r"```\n(no address is held twice.*?)```", text, re.DOTALL)[1]
    pytester.makepyfile(example.replace("                held.add(address)\n", ""))
    result = pytester.runpytest_subprocess(
        *PLUGIN, "-k", "no_program", "-p", "no:cacheprovider", "--hypothesis-seed=1", timeout=100
    )
    result.assert_outcomes(failed=1, deselected=14)
    for line in shown.splitlines():
        result.stdout.fnmatch_lines([f"*{line}"])
