"""A sandbox's namespace, open for the length of one plan or one observation.

Keeps: a namespace that is not ours is entered only if it is the one that was recorded, by its cookie. Must not know:
what is done in it. No room outlives its job: an open descriptor or socket keeps a namespace alive.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...domain.facts import NamespaceIdentity
from ...domain.values import SandboxKind
from ..contract import Place
from .kernel import Kernel
from .namespaces import OWN, NoNamespace, bind, boot_id, check_vacant, open_namespace, reserve
from .netlink import Conversation
from .rtnetlink import LOOPBACK_INDEX, get_link_at, set_link


class Lost(Exception):
    """Say that a recorded namespace is gone, or is another one now."""


class Room:
    """An open namespace: a descriptor to point the kernel to it, and a netlink socket inside.

    `next_index` is that of the next link made in it; 0 where that is not known.
    """

    def __init__(
        self, descriptor: int, conversation: Conversation, *, is_new: bool = False, next_index: int = 0
    ) -> None:
        self.descriptor = descriptor
        self.conversation = conversation
        self.is_new = is_new
        self.next_index = next_index

    def close(self) -> None:
        """Let go of the namespace."""
        self.conversation.close()
        os.close(self.descriptor)


def open_room(kernel: Kernel, place: Place) -> Room:
    """Open a sandbox's namespace; `Lost` when it is not the recorded one, OSError when it cannot be entered."""
    try:
        room = _room_in(kernel, open_namespace(place.path))
    except (NoNamespace, FileNotFoundError, NotADirectoryError):
        raise Lost(f"the namespace at {place.path} is gone") from None
    except OSError as error:
        raise OSError(error.errno, f"cannot be entered: {error.strerror}", place.path) from error
    try:
        if place.kind is not SandboxKind.MANAGED and place.identity is not None:
            _check_identity(room, place.path, place.identity)
    except BaseException:
        room.close()
        raise
    return room


def make_room(kernel: Kernel, path: str) -> Room:
    """Make a namespace and bind it to a path; a live one that is already there is opened instead."""
    is_reserved = reserve(path)
    if not is_reserved:
        try:
            return _room_in(kernel, open_namespace(path))
        except (NoNamespace, FileNotFoundError):  # the latter of a link that leads nowhere
            check_vacant(path)
    room, kernel.spare = kernel.spare, None
    try:
        if room is None:
            room = _fresh_room(kernel)
        bind(room.descriptor, path)
    except OSError:
        if room is not None:
            room.close()
        if is_reserved:
            Path(path).unlink()
        raise
    return room


def prepare_room(kernel: Kernel) -> None:
    """Make a namespace before anybody asks for it: that is a third of the time that attaching a sandbox takes."""
    if kernel.spare is None:
        kernel.spare = _fresh_room(kernel)


def _fresh_room(kernel: Kernel) -> Room:
    with kernel.home.fresh():
        descriptor = open_namespace(OWN)
        try:
            conversation = Conversation()
        except BaseException:
            os.close(descriptor)
            raise
    second = LOOPBACK_INDEX + 1  # somebody's already where the kernel puts its tunnels into every namespace
    room = Room(descriptor, conversation, is_new=True)
    try:
        answers = conversation.exchange([set_link(index=LOOPBACK_INDEX, up=True), get_link_at(second)])
        if 0 in answers.failures:
            raise OSError(answers.failures[0].number, f"loopback: {answers.failures[0]}")
    except BaseException:
        room.close()
        raise
    if 1 in answers.failures:
        room.next_index = second
    return room


def _room_in(kernel: Kernel, descriptor: int) -> Room:
    """Make a room of an open namespace, whose descriptor it takes."""
    try:
        return Room(descriptor, kernel.home.converse(descriptor))
    except BaseException:
        os.close(descriptor)
        raise


def identity_of(room: Room) -> NamespaceIdentity:
    """Identify an open namespace: its cookie, or its inode where the kernel has no cookies."""
    return NamespaceIdentity(boot_id(), room.conversation.cookie() or os.fstat(room.descriptor).st_ino)


def _check_identity(room: Room, path: str, recorded: NamespaceIdentity) -> None:
    found = identity_of(room)
    if found != recorded:
        raise Lost(
            f"the namespace at {path} was replaced by another one"
            f" (cookie {found.cookie}, recorded {recorded.cookie}{_other_boot(found, recorded)})"
        )


def _other_boot(found: NamespaceIdentity, recorded: NamespaceIdentity) -> str:
    return "" if found.boot == recorded.boot else ", in another boot"
