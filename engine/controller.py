"""The Controller: what a user holds; networks, sandboxes and the log of one host.

Keeps: one call at a time, each seeing committed state only. Knows nothing of: how anything is decided or applied.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from ..domain.commands import Command, CreateConfigurationNetwork, CreateNetwork, CreateSandbox
from ..domain.errors import Forbidden, Invalid, LedgerDamaged, LedgerError
from ..domain.events import DEFAULT_IPAM, LOCAL_DEFAULT, Event, OptionValue, Recorded
from ..domain.values import (
    AllocationPolicy,
    HostId,
    NetworkId,
    Position,
    SandboxId,
    SandboxKind,
    check_id,
)
from .addresses import AddressManagement
from .firewalls import FirewallManagement, FirewallRequest
from .lookup import find_endpoint, find_network, find_sandbox
from .model import Endpoint, Network, Sandbox
from .opening import Opened, open_everything
from .pool_requests import Wanted, check_holds_settings_only, pool_requests
from .remote import PLUGIN_DIRECTORIES
from .requests import Asking, author, new_id
from .resolution import resolution_of
from .results import Recovery, Result

if TYPE_CHECKING:
    from ..dataplanes.contract import Dataplane
    from ..ledger.ledger import Ledger
    from ..projections.views import Views
    from .machine import Machine

LOCK_WAIT_SECONDS = 10.0


class Controller:
    """Networks, endpoints and sandboxes of one host, kept in a log of events.

    Open it with `Controller.open`, close it with `close` or as a context manager. Threads may share it. After a fork
    the child has to open its own.
    """

    def __init__(self, opened: Opened, *, actor: str | None, read_only: bool) -> None:
        self._opened = opened
        self._machine = opened.machine
        self._actor = actor
        self._read_only = read_only
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._closed = threading.Event()

    @classmethod
    def open(  # noqa: PLR0913  # each part of a host by its name
        cls,
        state: str | Path | None = None,
        *,
        dataplane: str | Dataplane = "linux",
        namespace: str | None = None,
        actor: str | None = None,
        synchronous: str = "FULL",
        read_only: bool = False,
        wait_seconds: float = LOCK_WAIT_SECONDS,
        recover: bool = True,
        hold_ports: bool = True,
        firewall: str | FirewallRequest | None = None,
        default_address_pools: Sequence[str | tuple[str, int]] | None = None,
        retention_seconds: int | None = None,
        plugin_directories: Sequence[str | Path] = PLUGIN_DIRECTORIES,
    ) -> Self:
        """Open a state directory; without one, a log in memory.

        `dataplane` is `linux`, `simulated`, `none`, or one of your own. `namespace` is the path of the network
        namespace that serves as the host; without it, this process's own. `synchronous` FULL survives a power
        failure, NORMAL a crash of the process. What a crash or reboot left undone is made good: see `recovery`. Without
        `recover` it is left as it is, for a rebuild or repair whose plan was shown before. With `hold_ports` no other
        process can bind a published port until `close`; one that has it already keeps it, and is recorded as drift.

        `firewall` moves the host to a firewall before anything else, as `firewall.use` does: `nftables`, `iptables`,
        `none`, or `auto`; without it, it keeps the one that the log names, and on a new host takes the first of
        nftables and iptables that works. `default_address_pools` and `retention_seconds`
        are given to `ipam.configure`, where the log does not say so already. `plugin_directories` is where IPAM plugins
        are found; those that the log has pools of are met at once.

        Raises `LedgerForeign`, `LedgerNewer`, `LedgerBusy` (another process owns the host for longer than
        `wait_seconds`), `Unavailable` (`firewall` cannot be had here), and `NotFound` (`read_only`, and there is
        nothing).
        """
        who = author(actor, "opened", None)
        path = Path(state).absolute() if state is not None else None
        opened = open_everything(
            path,
            dataplane,
            namespace,
            who,
            synchronous=synchronous,
            read_only=read_only,
            wait_seconds=wait_seconds,
            recover=recover,
            hold_ports=hold_ports,
            firewall=FirewallRequest(firewall) if isinstance(firewall, str) else firewall,
            plugin_directories=tuple(Path(directory) for directory in plugin_directories),
        )
        controller = cls(opened, actor=actor, read_only=read_only)
        if default_address_pools is not None or retention_seconds is not None:
            try:
                controller.ipam.configure(default_pools=default_address_pools, retention_seconds=retention_seconds)
            except BaseException:
                controller.close()
                raise
        return controller

    # --- what it is

    @property
    def id(self) -> str:
        """The log's id, 32 hex digits; the first eight mark everything of it in the kernel."""
        return self._machine.ledger.id

    @property
    def host(self) -> HostId:
        """The id of the host whose networks these are."""
        return self._machine.host

    @property
    def recovery(self) -> Recovery | None:
        """What opening made good after a crash or a reboot; None when there was nothing."""
        return self._opened.recovery

    @property
    def ledger(self) -> Ledger:
        """The log itself, for reading, verifying and backing up."""
        return self._machine.ledger

    @property
    def ipam(self) -> AddressManagement:
        """The address pools: who has what and why, reservations, leases of the dead."""
        return AddressManagement(self)

    @property
    def firewall(self) -> FirewallManagement:
        """Which firewall the host's dataplane programs, and moving the host to another."""
        return FirewallManagement(self)

    @property
    def dataplane(self) -> Dataplane | None:
        """What makes the log's network real; None where nothing does."""
        return self._machine.dataplane

    @property
    def views(self) -> Views:
        """The current state, for reading under `reading`."""
        return self._machine.views

    def reading(self) -> _Reading:
        """Hold the state still while it is read: `with controller.reading() as views`."""
        return _Reading(self)

    # --- commands

    def execute(
        self,
        commands: Sequence[Command],
        **asking: Unpack[Asking],
    ) -> list[Result]:
        """Carry out commands as one batch: one append, one kernel transaction for each namespace.

        Each command takes `actor` (else this controller's, else the operating system's user), `reason` and `request`.
        A refused command does not disturb the others; look at each result's `error`, or call its `check`. The same
        `request` id given again with the same commands changes nothing and answers as the first time; what was refused
        or taken back is not remembered: it is decided anew, in the state as it is by then. The other commands of its
        batch are part of that state. Where a later one made possible what was refused (a leave that is refused since
        the endpoint is nowhere, and its join behind it), the batch given again carries it out after all: do not repeat
        such a batch as a whole once its answer is known, but what was refused, under a request id of its own.
        """
        who = author(asking.get("actor") or self._actor, asking.get("reason", ""), asking.get("request"))
        with self.working() as machine:
            if self._read_only:
                raise Forbidden("change anything", "this controller was opened read-only", "open it without read_only")
            if machine.ledger.damage is not None:
                raise LedgerDamaged(machine.ledger.damage)
            return machine.execute(commands, who)

    def do(self, command: Command, **asking: Unpack[Asking]) -> Result:
        """Carry out one command, and raise what stops it."""
        result = self.execute([command], **asking)[0]
        result.check()
        return result

    def create_network(  # noqa: PLR0913  # each option of a network by its keyword
        self,
        name: str,
        driver: str = "bridge",
        *,
        subnets: Sequence[str] = (),
        gateways: Sequence[str] = (),
        ipv4: bool = True,
        ipv6: bool = False,
        ip_ranges: Sequence[str] = (),
        auxiliary: Mapping[str, str] | None = None,
        address_space: str = LOCAL_DEFAULT,
        allocation: str = AllocationPolicy.NEXT,
        rest_seconds: int = 0,
        grace_seconds: int = 0,
        ipam_driver: str = DEFAULT_IPAM,
        ipam_options: Mapping[str, OptionValue] | None = None,
        internal: bool = False,
        options: Mapping[str, OptionValue] | None = None,
        labels: Mapping[str, str] | None = None,
        config_only: bool = False,
        config_from: str = "",
        id: str | None = None,  # noqa: A002  # the word that libnetwork's API has for it
        **asking: Unpack[Asking],
    ) -> Network:
        """Create a network.

        `subnets` are CIDR blocks, at most one of each address family, or an unspecified address and the size of a block
        that is to be chosen, like `0.0.0.0/24`; a family that is enabled and has none gets a predefined block.
        `gateways` are addresses in them, `ip_ranges` the parts of them that addresses are chosen from, `auxiliary`
        addresses that nobody is to get, by name. `address_space` is where no two pools overlap. `allocation` is `next`,
        `lowest`, `serial` or `sticky`: see `AllocationPolicy`; an address rests for `rest_seconds` before another gets
        it, and is kept for its name for `grace_seconds` (sticky). `ipam_driver` is `default`, `null` (no addresses) or
        a plugin's name. `options` are the network driver's, by libnetwork's labels, `ipam_options` the IPAM driver's.

        With `config_only` nothing is made but a configuration network, which keeps all these settings but `driver` and
        `internal`; `config_from` names one, whose settings the new network takes, and has none of its own.
        """
        identity = NetworkId(check_id("network", id) if id else new_id(asking.get("request"), f"network/{name}"))
        wanted = Wanted(
            subnets,
            gateways,
            ip_ranges,
            dict(auxiliary or {}),
            ipv4,
            ipv6,
            address_space,
            ipam_driver,
            allocation,
            rest_seconds,
            grace_seconds,
        )
        pools, given, tags, told = (
            pool_requests(wanted),
            dict(options or {}),
            dict(labels or {}),
            dict(ipam_options or {}),
        )
        command: Command
        if config_only:
            check_holds_settings_only(name, driver, config_from, internal=internal)
            command = CreateConfigurationNetwork(identity, name, pools, given, tags, ipam_driver, told)
        else:
            command = CreateNetwork(
                identity, name, driver, pools, internal, given, tags, ipam_driver, told, config_from
            )
        self.do(command, **asking)
        return Network(self, identity)

    def create_sandbox(  # noqa: PLR0913  # each option of a sandbox by its keyword
        self,
        container: str,
        *,
        kind: str = SandboxKind.MANAGED,
        path: str = "",
        hostname: str = "",
        domainname: str = "",
        files: bool = False,
        extra_hosts: Mapping[str, str] | None = None,
        dns: Sequence[str] = (),
        dns_search: Sequence[str] = (),
        dns_options: Sequence[str] = (),
        hosts_path: str = "",
        resolv_conf_path: str = "",
        labels: Mapping[str, str] | None = None,
        id: str | None = None,  # noqa: A002  # the word that libnetwork's API has for it
        **asking: Unpack[Asking],
    ) -> Sandbox:
        """Create a sandbox for a container.

        With `files`, or anything that they are to hold, a hosts file and a resolv.conf are written and kept up to date,
        at the paths given, else in the state directory (`info()` tells where): `extra_hosts` are names with addresses,
        `dns`, `dns_search` and `dns_options` override the host's own. Once somebody edited one, it is left alone.

        `managed`: we make its namespace. `attached`: it is the one at `path`. `delegated`: a runtime moves the
        container ends of its endpoints into a namespace of its own.
        """
        identity = SandboxId(check_id("sandbox", id) if id else new_id(asking.get("request"), f"sandbox/{container}"))
        command = CreateSandbox(
            identity,
            container,
            kind=_sandbox_kind(kind),
            path=path,
            hostname=hostname,
            domainname=domainname,
            labels=dict(labels or {}),
            resolution=resolution_of(
                extra_hosts or {}, dns, dns_search, dns_options, hosts_path, resolv_conf_path, always=files
            ),
        )
        self.do(command, **asking)
        return Sandbox(self, identity)

    # --- looking things up

    def networks(self) -> list[Network]:
        """List the networks, configuration-only ones among them, the oldest first."""
        with self.reading() as views:
            networks = views.networks
            found = {key: record.position for key, record in networks.networks.items()}
            found |= {key: record.position for key, record in networks.configuration_networks.items()}
            return [Network(self, network) for network in sorted(found, key=found.__getitem__)]

    def network(self, name_or_id: str) -> Network:
        """Find a network by id, name or id prefix."""
        with self.reading() as views:
            return Network(self, find_network(views, self.host, name_or_id))

    def endpoints(self) -> list[Endpoint]:
        """List the endpoints of all networks, the oldest first."""
        with self.reading() as views:
            return [Endpoint(self, endpoint) for endpoint in views.endpoints.endpoints]

    def endpoint(self, name_or_id: str) -> Endpoint:
        """Find an endpoint by id, NETWORK/NAME, a name that one network alone has, or id prefix."""
        with self.reading() as views:
            return Endpoint(self, find_endpoint(views, self.host, name_or_id))

    def sandboxes(self) -> list[Sandbox]:
        """List the sandboxes, the oldest first."""
        with self.reading() as views:
            return [Sandbox(self, sandbox) for sandbox in views.sandboxes.sandboxes]

    def sandbox(self, container_or_id: str) -> Sandbox:
        """Find a sandbox by id, its container's id, or id prefix."""
        with self.reading() as views:
            return Sandbox(self, find_sandbox(views, self.host, container_or_id))

    # --- the log

    def history(self, *, after: int = 0, tags: Sequence[str] = ()) -> Iterator[Recorded[Event]]:
        """Read the committed events after a position, those with all the tags, and end."""
        self._check_process()
        return self._machine.ledger.read(after=Position(after), tags=tuple(tags))

    def events(self, *, after: int = 0, poll_seconds: float = 0.1) -> Iterator[Recorded[Event]]:
        """Read the committed events after a position and go on with new ones as they come, until `close`.

        Those of other processes are noticed within `poll_seconds`.
        """
        self._check_process()
        return self._machine.ledger.follow(Position(after), self._closed, poll_seconds)

    # --- the end

    def close(self) -> None:
        """Write down how far the dataplane is, and let go of everything; the kernel stays as it is."""
        if self._closed.is_set():
            return
        self._check_process()  # before the lock, which a forked child may have inherited locked
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
            opened = self._opened
            try:
                if opened.machine.dataplane is not None:
                    opened.machine.dataplane.close()
            finally:
                try:
                    opened.machine.ledger.close()
                finally:
                    if opened.lock is not None:
                        opened.lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- within the package

    @property
    def is_read_only(self) -> bool:
        """Whether it was opened for reading only."""
        return self._read_only

    def working(self) -> _Working:
        """Hold the lock and have the machine."""
        return _Working(self)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise LedgerError("this Controller was opened before a fork; call Controller.open in the child process")
        if self._closed.is_set():
            raise LedgerError("this Controller is closed; call Controller.open again")


class _Working:
    """Hold the controller's lock, having checked that it may be used here."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def __enter__(self) -> Machine:
        self._controller._check_process()  # noqa: SLF001  # one class in two parts
        self._controller._lock.acquire()  # noqa: SLF001
        try:
            self._controller._check_process()  # noqa: SLF001  # it may have been closed meanwhile
        except BaseException:
            self._controller._lock.release()  # noqa: SLF001
            raise
        return self._controller._machine  # noqa: SLF001

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller._lock.release()  # noqa: SLF001


class _Reading(_Working):
    """Hold the state still, caught up with the log."""

    def __enter__(self) -> Views:  # type: ignore[override]  # a reader gets the views, not the machine
        machine = super().__enter__()
        try:
            machine.catch_up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return machine.views


def _sandbox_kind(text: str) -> SandboxKind:
    try:
        return SandboxKind(text)
    except ValueError:
        raise Invalid(f"sandbox kind {text!r}", "unknown", f"known: {', '.join(SandboxKind)}") from None
