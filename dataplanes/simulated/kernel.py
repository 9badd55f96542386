"""A kernel in memory: what there is in the namespaces of one host, whoever made it.

Keeps: an object exists once; what depends on another goes with it. Knows nothing of: plans, the log.
"""

from __future__ import annotations

from ...domain.objects import (
    HOST_NAMESPACE,
    Address,
    Bridge,
    Firewall,
    ForwardPolicy,
    KernelObject,
    Key,
    Masquerade,
    Namespace,
    PortForward,
    Route,
    VethPair,
)
from ...domain.values import SandboxId

BRIDGE_PORTS = 1023


class KernelError(Exception):
    """Say which errno the kernel would answer, and in which words."""

    def __init__(self, number: int, message: str) -> None:
        self.number = number
        super().__init__(message)


class SimulatedKernel:
    """The objects of one host, made and removed one at a time, with the kernel's own refusals.

    `objects` may be changed directly: that is how a test alters the kernel behind netledger's back.
    """

    def __init__(self) -> None:
        self.objects: dict[Key, KernelObject] = {}
        self.foreign_devices: dict[str, str] = {}
        """Interfaces of the host that nobody here made: name and what it is."""

    def make(self, wanted: KernelObject) -> None:
        """Make an object; raise what the kernel would."""
        if wanted.key in self.objects:
            raise KernelError(17, "File exists")
        name = _host_interface(wanted)
        if name is not None and name in self.foreign_devices:
            raise KernelError(17, f"{self.foreign_devices[name]} has the name {name} and is not ours")
        self._check_ground(wanted)
        self.objects[wanted.key] = wanted

    def replace(self, wanted: KernelObject) -> None:
        """Put an object in the place of the one that has its key. A bridge is altered and keeps what stands on it."""
        if isinstance(wanted, Bridge):
            self.objects[wanted.key] = wanted
        else:
            self.remove(wanted.key)
            self.make(wanted)

    def remove(self, key: Key) -> None:
        """Remove an object and what goes with it; raise what the kernel would."""
        gone = self.objects.pop(key, None)
        if gone is None:
            raise KernelError(2, "No such file or directory")
        if isinstance(gone, Namespace):
            self._drop_where(lambda there: getattr(there, "sandbox", None) == gone.sandbox)
        elif isinstance(gone, VethPair):
            self._drop_where(lambda there: _stands_on(there, gone.sandbox, gone.name))
        elif isinstance(gone, Bridge):
            self._drop_where(lambda there: _stands_on(there, HOST_NAMESPACE, gone.name))
        elif isinstance(gone, Firewall):
            self._drop_where(lambda there: isinstance(there, Masquerade | ForwardPolicy | PortForward))

    def _check_ground(self, wanted: KernelObject) -> None:
        """Refuse what has nothing to stand on."""
        if isinstance(wanted, VethPair):
            if Key(f"bridge/{wanted.bridge}") not in self.objects:
                raise KernelError(19, f"No such device {wanted.bridge}")
            if any(_carries(there, wanted.sandbox, wanted.name) for there in self.objects.values()):
                raise KernelError(17, f"File exists: {wanted.name} in that namespace")
            ports = sum(
                isinstance(there, VethPair) and there.bridge == wanted.bridge for there in self.objects.values()
            )
            if ports >= BRIDGE_PORTS:
                raise KernelError(54, "Exchange full")
        elif isinstance(wanted, Address | Route):
            if not any(_carries(there, wanted.sandbox, wanted.device) for there in self.objects.values()):
                raise KernelError(19, f"No such device {wanted.device}")
        elif isinstance(wanted, Masquerade | ForwardPolicy | PortForward) and Key("firewall") not in self.objects:
            raise KernelError(2, "No such file or directory: the table is not there")

    def _drop_where(self, goes: object) -> None:
        assert callable(goes)
        for key in [key for key, there in self.objects.items() if goes(there)]:
            del self.objects[key]


def _host_interface(wanted: KernelObject) -> str | None:
    if isinstance(wanted, Bridge):
        return wanted.name
    return wanted.host_name if isinstance(wanted, VethPair) else None


def _stands_on(there: KernelObject, sandbox: SandboxId, device: str) -> bool:
    return isinstance(there, Address | Route) and (there.sandbox, there.device) == (sandbox, device)


def _carries(there: KernelObject, sandbox: SandboxId, device: str) -> bool:
    if isinstance(there, Bridge):
        return sandbox == HOST_NAMESPACE and there.name == device
    return isinstance(there, VethPair) and (there.sandbox, there.name) == (sandbox, device)
