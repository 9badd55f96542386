"""The examples that need no kernel, run as they stand; tests/kernel/test_examples.py runs the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(*words: str | Path, status: int = 0) -> str:
    """Run Python with these words and return what it printed."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_a_wrong_allocation_rule_is_found_and_shrunk_to_three_calls():
    """The right allocator breaks no rule; of the wrong one the three calls are printed that show what is wrong."""
    assert run(EXAMPLES / "allocation_rule.py").splitlines() == [
        "Downwards:",
        "  no program breaks a rule",
        "Careless:",
        "  no address is held twice: 10.0.0.2 is address1 already",
        '      pool1 = request_pool("10.0.0.0/30")  # 10.0.0.0/30',
        "      address1 = request_address(pool1)  # 10.0.0.2/30",
        "      address2 = request_address(pool1)  # 10.0.0.2/30",
    ]


def test_an_allocation_rule_keeps_the_contract():
    """The example is a test file, too, whose tests pass."""
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES / "allocation_rule.py")
    assert "16 passed" in run(*words)


def test_who_reaches_whom_in_a_compose_like_file():
    """Every expectation of the example's own file is met."""
    lines = run(EXAMPLES / "compose_reachability.py").splitlines()
    assert len(lines) == 7
    assert all(line.startswith("ok   ") for line in lines)
    assert lines[0].startswith("ok   web -> db tcp/5432: reached")


def test_a_mistake_in_a_compose_like_file_is_shown_with_the_packet_s_way(tmp_path):
    """A network that is no longer internal, and a service on a network too many: both are told, with what decided."""
    from examples.compose_reachability import SHOP

    text = SHOP.replace("internal = true", "").replace('["front"]', '["front", "back"]')
    (tmp_path / "shop.toml").write_text(text, encoding="utf-8")
    printed = run(EXAMPLES / "compose_reachability.py", tmp_path / "shop.toml", status=1)
    failed = [line for line in printed.splitlines() if line.startswith("FAIL")]
    assert [line.split(":")[0] for line in failed] == ["FAIL mailer -> db tcp/5432", "FAIL db -> outside tcp/443"]
    assert "masquerades it" in printed
