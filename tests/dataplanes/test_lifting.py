"""The simulated kernel's objects are read out of its state: what goes in comes out, in any order of making."""

from __future__ import annotations

import errno
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netledger.dataplanes.simulated import KernelError, SimulatedKernel
from netledger.domain.objects import (
    MAKING_ORDER,
    Address,
    Bridge,
    Firewall,
    ForwardPolicy,
    Masquerade,
    Namespace,
    PortForward,
    Route,
    Sysctl,
    VethPair,
)
from netledger.domain.values import parse_address, parse_subnet

ANYWHERE = parse_subnet("0.0.0.0/0")
MACS = st.binary(min_size=6, max_size=6)
MTUS = st.one_of(st.just(0), st.integers(68, 1499), st.integers(1501, 65535))


@st.composite
def hosts(draw):
    """Draw everything that one host may have: networks, containers on them, published ports."""
    objects = [Firewall(), Sysctl("", "net.ipv4.ip_forward", draw(st.sampled_from("01")))]
    for network in range(draw(st.integers(1, 3))):
        bridge = f"br{network}"
        objects += [
            Bridge(bridge, f"n{network}", draw(MACS), draw(MTUS)),
            ForwardPolicy(bridge, icc=draw(st.booleans()), internal=draw(st.booleans())),
            *(Masquerade(bridge, family) for family in draw(st.sets(st.sampled_from((4, 6))))),
            Address("", bridge, bytes((10, network, 0, 1)), 24),
        ]
        for number in range(draw(st.integers(0, 3))):
            sandbox, name = f"s{network}{number}", f"nl{network}{number}"
            inside = bytes((10, network, 0, 2 + number))
            is_up = draw(st.booleans())
            objects.append(
                VethPair(
                    name,
                    f"e{name}",
                    bridge,
                    sandbox if is_up else "",
                    "eth0" if is_up else f"np{name}",
                    draw(MACS),
                    draw(MTUS),
                    isolated=draw(st.booleans()),
                    up=is_up,
                )
            )
            if is_up:
                objects += [
                    Namespace(sandbox, f"/run/{sandbox}"),
                    Address(sandbox, "eth0", inside, 24),
                    Route(sandbox, "eth0", ANYWHERE, bytes((10, network, 0, 1))),
                ]
            objects.append(PortForward(6, bytes(4), 8000 + 10 * network + number, inside, 80))
    return objects


def made(objects):
    """Return a kernel that has made them."""
    kernel = SimulatedKernel()
    for thing in sorted(objects, key=lambda thing: MAKING_ORDER[type(thing)]):
        kernel.make(thing)
    return kernel


@given(hosts(), st.randoms(use_true_random=False))
def test_what_goes_in_comes_out(objects, order: random.Random):
    """Every object reads back equal, one by one and all together, whatever order equals were made in."""
    order.shuffle(objects)
    kernel = made(objects)
    assert kernel.objects == {thing.key: thing for thing in objects}
    assert [kernel.find(thing) for thing in objects] == objects


@given(hosts(), st.data())
def test_what_is_removed_is_gone_with_what_stands_on_it(objects, data):
    """After a removal nothing else is there, nothing stands on air, and what is removed from the end leaves nothing."""
    kernel = made(objects)
    gone = data.draw(st.sampled_from(objects))
    kernel.remove(gone)
    left = kernel.objects
    assert gone.key not in left
    assert left.keys() < {thing.key for thing in objects}
    devices = {(thing.sandbox, thing.name) for thing in left.values() if isinstance(thing, VethPair)}
    devices |= {("", thing.name) for thing in left.values() if isinstance(thing, Bridge)}
    for thing in left.values():
        if isinstance(thing, Address | Route):
            assert (thing.sandbox, thing.device) in devices
    kernel.clear()
    assert not kernel.objects
    assert kernel.own.devices.keys() == {"lo"}


@given(hosts())
def test_everything_can_be_taken_down_in_the_opposite_order(objects):
    """Removed one by one from the last to the first, each is there until then."""
    kernel = made(objects)
    for thing in sorted(objects, key=lambda thing: -MAKING_ORDER[type(thing)]):
        kernel.remove(thing)
        assert kernel.find(thing) is None
    assert not kernel.objects


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        (Bridge("a-name-of-16-byt", "n", bytes(6), 0), errno.EINVAL),
        (Bridge("br1", "n", bytes(6), 67), errno.EINVAL),
        (Route("s", "eth0", ANYWHERE, parse_address("10.9.9.9")), errno.ENETUNREACH),
        (VethPair("nl2", "e", "br0", "nowhere", "eth0", bytes(6), 0, isolated=False), errno.ENOENT),
    ],
)
def test_the_kernel_says_no(wanted, number):
    """A long name, a small MTU, a gateway on no link, a namespace that is not there."""
    objects = [
        Bridge("br0", "n", bytes(6), 0),
        Namespace("s", "/run/s"),
        VethPair("nl1", "e", "br0", "s", "eth0", bytes(6), 0, isolated=False),
        Address("s", "eth0", parse_address("10.0.0.2"), 24),
    ]
    kernel = made(objects)
    with pytest.raises(KernelError) as caught:
        kernel.make(wanted)
    assert caught.value.number == number
    assert kernel.objects == {thing.key: thing for thing in objects}


def test_a_device_without_addresses_has_no_routes():
    """The last address takes the device's routes of its family with it, as in the kernel."""
    address = Address("s", "eth0", parse_address("10.0.0.2"), 24)
    kernel = made(
        [
            Bridge("br0", "n", bytes(6), 0),
            Namespace("s", "/run/s"),
            VethPair("nl1", "e", "br0", "s", "eth0", bytes(6), 0, isolated=False),
            address,
            route := Route("s", "eth0", ANYWHERE, parse_address("10.0.0.1")),
        ]
    )
    kernel.remove(address)
    assert kernel.find(route) is None
