"""`netledger watch`: what it says of what it found."""

from __future__ import annotations

import pytest

from netledger.engine.reconcile import Comparison
from netledger.engine.watching import Finding, Occasion
from netledger.interfaces.cli.options import Log
from netledger.interfaces.cli.watching import _tell


@pytest.mark.parametrize(
    ("occasion", "noticed", "said"),
    [
        (Occasion.START, (), "mended, having compared the host with the log at the start:"),
        (Occasion.START, ("link br0",), "mended, having noticed: link br0"),
        (Occasion.NOTICE, ("link br0", "route"), "mended, having noticed: link br0; route"),
        (Occasion.PERIOD, (), "mended, having compared the host with the log now and then:"),
    ],
)
def test_why_it_looked(capsys: pytest.CaptureFixture[str], occasion, noticed, said) -> None:
    """What was noticed, or when it was compared; then a line for each object, and firewalls that are to go."""
    comparison = Comparison(("+ bridge/br0",), "0" * 16, (), (), ("iptables",))
    _tell(Finding(noticed, comparison, is_mended=True, occasion=occasion), Log())
    assert capsys.readouterr().out.splitlines() == [
        said,
        "  + bridge/br0",
        "  ! firewall iptables: the host was moved from it, and its rules were still there",
    ]
