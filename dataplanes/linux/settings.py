"""The kernel settings of interfaces in sandboxes.

Keeps: which settings are ours stands in the interface's alias, so that a later process reads them back; a setting is
written before the interface has addresses. Must not know: how interfaces are made.

An alias takes 255 bytes. Settings that it has no room for (the seventh or so) are written all the same, and not
observed: a comparison with the log plans them again, and finds them so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from ...domain.objects import InterfaceSysctl
from ...domain.values import SandboxId
from ..contract import Status
from .kernel import Kernel, look_up
from .marks import EndpointMark
from .rooms import Room
from .rtnetlink import alias, set_link
from .run import Run
from .sysctls import read_sysctl, write_sysctl

_TURNED = str.maketrans("./", "/.")
_NET = "net."
_HERE = ".*."


def write_settings(run: Run, room: Room, numbers: Sequence[int]) -> None:
    """Write the settings of one sandbox, and note in the aliases of interfaces that are up whose they are."""
    by_device: dict[str, list[str]] = {}
    with run.kernel.home.visit(room.descriptor):
        for number in run.unblocked(numbers):
            wanted = _wanted(run, number)
            try:
                written = write_sysctl(wanted.name, wanted.value)
            except OSError as error:
                run.fail_with(number, error)
            else:
                by_device.setdefault(wanted.device, []).append(_shorten(wanted.name, wanted.device))
                run.end(number, Status.MADE if written else Status.ALREADY)
    for device, names in by_device.items():
        run.settings.setdefault((_wanted(run, numbers[0]).sandbox, device), []).extend(names)
        _note(run, room, device, names)


def read_settings(
    kernel: Kernel, room: Room, sandbox: SandboxId, devices: dict[str, EndpointMark]
) -> list[InterfaceSysctl]:
    """Read back the settings that the marks of a sandbox's interfaces name."""
    if not any(mark.settings for mark in devices.values()):
        return []
    found: list[InterfaceSysctl] = []
    with kernel.home.visit(room.descriptor):
        for device, mark in devices.items():
            for name in _names(device, mark):
                with contextlib.suppress(OSError):
                    found.append(InterfaceSysctl(sandbox, device, name, read_sysctl(name)))
    return found


def _names(device: str, mark: EndpointMark) -> Iterator[str]:
    return (_NET + short.replace(_HERE, f".{device.translate(_TURNED)}.", 1) for short in mark.settings)


def _shorten(name: str, device: str) -> str:
    return name.removeprefix(_NET).replace(f".{device.translate(_TURNED)}.", _HERE, 1)


def _note(run: Run, room: Room, device: str, names: Sequence[str]) -> None:
    """Add settings to an alias that is there; an interface that is about to be set up gets them with it."""
    marks = run.kernel.marks
    link = look_up(room.conversation, device)
    mark = marks.read_endpoint(link.alias) if link is not None else None
    if link is None or mark is None or mark.delegation is not None or set(names) <= set(mark.settings):
        return
    text = marks.endpoint(mark.endpoint, settings=tuple(dict.fromkeys((*mark.settings, *names))))
    room.conversation.attempt([set_link(index=link.index, attributes=alias(text))])


def _wanted(run: Run, number: int) -> InterfaceSysctl:
    thing = run.steps[number].object
    assert isinstance(thing, InterfaceSysctl)
    return thing
