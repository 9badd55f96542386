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


names = st.lists(st.text("abcdefgh_.*0123456789", min_size=1, max_size=60), max_size=12, unique=True)


@given(ids, names)
def test_settings_in_an_alias(identity, settings):
    """As many as there is room for are read back, the first ones first; the mark is whole in any case."""
    marks = Marks("0a1b2c3d")
    alias = marks.endpoint(identity, settings=tuple(settings))
    assert len(alias) < 256
    mark = marks.read_endpoint(alias)
    assert (mark.endpoint, mark.delegation) == (identity, None)
    assert list(mark.settings) == settings[: len(mark.settings)]
    if len(mark.settings) < len(settings):
        assert len(alias) + 1 + len(settings[len(mark.settings)]) + len(" settings") > 255


@given(ids)
def test_each_kind_of_alias_is_its_own(identity):
    """An alias of one kind is none of another."""
    marks = Marks("0a1b2c3d")
    aliases = [marks.endpoint(identity), marks.network(identity), marks.stand_in(identity), marks.far_end("dm-1")]
    aliases.append(marks.vlan())
    readers = [marks.read_endpoint, marks.read_network, marks.read_stand_in, marks.is_far_end, marks.is_vlan]
    for number, alias in enumerate(aliases):
        assert [bool(read(alias)) for read in readers] == [other == number for other in range(len(readers))]
    assert marks.read_stand_in(marks.stand_in(identity)) == identity
