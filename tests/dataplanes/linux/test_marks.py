"""The marks of an instance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netledger.dataplanes.linux.marks import Delegation, EndpointMark, Marks

instances = st.text("0123456789abcdef", min_size=8, max_size=8)
ids = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(
    instances, ids, st.none() | st.builds(Delegation, st.text("abc0-", min_size=1), st.binary(min_size=6, max_size=6))
)
def test_aliases(instance, identity, delegation):
    """What is written is read back, fits in an alias, and is nobody else's."""
    marks = Marks(instance)
    alias = marks.endpoint(identity, delegation)
    assert len(alias) < 256
    assert marks.read_endpoint(alias) == EndpointMark(identity, delegation)
    assert marks.read_network(marks.network(identity)) == identity
    assert marks.read_network(alias) is None
    other = Marks("0" * 8 if instance != "0" * 8 else "1" * 8)
    assert other.read_endpoint(alias) is None


@given(instances)
def test_groups(instance):
    """They fit the kernel's int, and are neither the default group nor each other."""
    marks = Marks(instance)
    assert 0 < marks.live < marks.trash < 2**31


def test_an_alias_of_somebody_else():
    """Anything may stand in an alias."""
    marks = Marks("0a1b2c3d")
    for alias in ("", "eth0", "netledger-0a1b2c3d", "netledger-0a1b2c3d endpointx", "netledger-0a1b2c3de endpoint 1"):
        assert marks.read_endpoint(alias) is None
    assert marks.read_endpoint("netledger-0a1b2c3d endpoint 1 delegated zz name") == EndpointMark("1")
