"""Asking: what a command needs of an IPAM plugin, before it is decided; and giving back what no command kept.

Keeps: whatever a plugin gave is in the log when the batch is done, or was given back, or its return is owed and the log
says so. What was given is kept through a batch that is decided again. An address that our log holds is never given back
here, even if a plugin gives it for the second time.
Knows nothing of: how a command is decided, how events are appended.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct, structs

from ...domain.commands import Command, CreateEndpoint, CreateNetwork, PoolRequest, RequestAddress
from ...domain.configuration_networks import with_configuration
from ...domain.drivers import DRIVERS, NetworkTraits, find_driver
from ...domain.endpoint_options import check_endpoint_options
from ...domain.errors import Conflict, Invalid, NotFound, Refusal
from ...domain.events import DEFAULT_IPAM, GLOBAL_DEFAULT, LOCAL_DEFAULT, NetworkCreated, OptionValue
from ...domain.facts import IpamAnswers, PoolAnswer
from ...domain.ipam.driver import IpamDriver
from ...domain.ipam.pools import NULL_IPAM, scope_of
from ...domain.values import (
    HostId,
    PoolId,
    Subnet,
    family_of,
    format_address,
    format_mac,
    mac_for,
    parse_address,
)
from ...domain.view import name_of
from ...projections.views import Views
from .discovery import PLUGIN_DIRECTORIES, Address, find
from .in_process import InProcess
from .ipam import ADDRESS_TYPE, ENDPOINT_NAME, GATEWAY, MAC, Nature, Pool, RemoteIpam
from .replaying import Retelling, replay_one
from .transport import PATIENCE, Limits, PluginFault, PluginRefused, Transport

OURS = frozenset({DEFAULT_IPAM, NULL_IPAM})
MAC_ATTEMPTS = 16
RETRY_SECONDS = 1.0
RETRY_SECONDS_LIMIT = 60.0

Elsewhere = Callable[[str], IpamDriver | None]
"""Makes the driver of a name that another distribution brings; None where none does."""


class Debt(Struct, frozen=True):
    """What is to go back to a plugin: an address (packed) of its pool, or (empty) the pool; and why it has not yet."""

    driver: str
    pool: str
    address: bytes
    why: str = ""

    def __str__(self) -> str:
        return f"address {format_address(self.address)} of pool {self.pool}" if self.address else f"pool {self.pool}"


class _Asked(Struct):
    """What was asked for one command, and what the plugin gave: pools first, then addresses."""

    command: Command
    basis: object
    """What of the views the question was made from."""
    given: list[Debt]
    completed: Command
    answers: IpamAnswers


class RemoteDrivers:
    """The IPAM drivers of one host that are not ours, as one batch after the other needs them."""

    def __init__(
        self,
        host: HostId,
        directories: Sequence[Path] = PLUGIN_DIRECTORIES,
        limits: Limits = PATIENCE,
        elsewhere: Elsewhere = lambda _: None,
    ) -> None:
        self._host = host
        self._directories = directories
        self._limits = limits
        self._elsewhere = elsewhere
        self._in_process: dict[str, InProcess] = {}
        """Those of this process, which stay as they are when a call fails."""
        self._drivers: dict[str, RemoteIpam] = {}
        """Those that have shaken hands since this process began or they were last gone."""
        self._retelling: dict[str, Retelling] = {}
        """Those that have shaken hands and not been told again everything yet."""
        self._until = math.inf
        """When the time is over that all calls share which no command asks for; infinite outside `together`."""
        self._asked: dict[int, _Asked] = {}
        """By a command's place in the batch."""
        self._unused: list[Debt] = []
        self._waiting: dict[str, tuple[float, float]] = {}
        """Plugins that could not be given something back: not before when, and how long to wait the next time."""
        self._differences: list[str] = []

    # --- before deciding

    def ask(self, index: int, command: Command, view: Views) -> tuple[Command, IpamAnswers | None]:
        """Ask what the batch's command needs; return the command as it is to be decided, and the answers.

        Raises `PluginFault`, `PluginRefused`, and what `find` raises; what had been given by then is given back.
        """
        match command:
            case CreateNetwork():
                settled = _settled(view, command, self._host)
                if settled.ipam_driver not in OURS and settled.pools and _traits(settled)[0].has_addresses:
                    return command, self._remembered(index, settled, None, view)[1]
            case CreateEndpoint():
                network = view.network(command.network)
                if network is None or network.event.ipam_driver in OURS or not network.event.pools:
                    return command, None
                holder = view.endpoint_named(command.network, command.name)
                is_held = holder is not None and holder not in view.gone()
                if is_held or view.endpoint(command.endpoint) is not None:
                    return command, None  # the rule refuses it
                return self._remembered(index, command, network.event, view)
            case RequestAddress():
                pool = view.pool(command.pool)
                if pool is not None and pool.event.ipam_driver not in OURS:
                    raise Invalid(
                        f"request an address of pool {command.pool}",
                        f"IPAM driver {pool.event.ipam_driver!r} gives its addresses, to endpoints alone",
                        "create an endpoint",
                    )
            case _:
                pass
        return command, None

    def ready(self, name: str, view: Views) -> RemoteIpam:
        """Have a plugin that has shaken hands, and that knows again what it had given where it wants to be told."""
        driver = self._drivers.get(name)
        if driver is None or driver.was_replaced():
            retelling = self._retelling.pop(name, None)
            if retelling is None or retelling.driver.was_replaced():
                retelling = Retelling(self._meet(name), self._host)
            driver = retelling.driver
            if driver.nature().requires_replay:
                with self.together():
                    self._tell_again(retelling, view)
            self._drivers[name] = driver
        return driver

    def lost(self, name: str) -> None:
        """Take notice that a plugin did not answer: it may be another one when it does, at another address."""
        self._drivers.pop(name, None)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let all calls that are made meanwhile, and that no command asks for, share one time limit."""
        before = self._until
        self._until = min(before, time.monotonic() + self._limits.together_seconds)
        try:
            yield
        finally:
            self._until = before

    @property
    def is_out_of_time(self) -> bool:
        """Whether the time is over that the calls share."""
        return time.monotonic() >= self._until

    # --- after the batch

    @property
    def has_news(self) -> bool:
        """Whether anything was asked for the batch, or differs from the log."""
        return bool(self._asked or self._unused or self._differences)

    def settle(self, kept: Collection[int], view: Views) -> list[Debt]:
        """End a batch: give back what was given for other commands than `kept`; return what could not be.

        What the log holds by then, because a plugin gave it twice, is left to its holder. A plugin that does not answer
        is not tried again for the rest.
        """
        unused, self._unused = self._unused, []
        for index, asked in self._asked.items():
            if index not in kept:
                unused += asked.given
        self._asked = {}
        owed: dict[str, list[Debt]] = {}
        for debt in reversed(unused):
            if is_held(view, debt):
                continue
            silent = owed.get(debt.driver)
            failed = structs.replace(debt, why=silent[0].why) if silent else self._try(debt)
            if failed is not None:
                owed.setdefault(debt.driver, []).append(failed)
        return [debt for debts in owed.values() for debt in debts]

    def give_back(
        self, debts: Sequence[Debt], is_due: Callable[[Debt], bool], view: Views
    ) -> Iterator[tuple[Debt, str | None]]:
        """Give back what is owed, addresses before their pools; tell what came of each that was tried.

        `is_due` is asked in the last moment whether it is still to be given back, by then. None: it was taken back.
        Text: what the plugin said when it refused, which ends the matter as well. A plugin that does not answer is left
        alone for a while: its debts come back with `why`, the first of them at least.
        """
        still_owed: set[tuple[str, str]] = set()
        for debt in sorted(debts, key=lambda debt: not debt.address):
            due, _ = self._waiting.get(debt.driver, (0.0, 0.0))
            is_waiting = time.monotonic() < due or self.is_out_of_time
            if is_waiting or (not debt.address and (debt.driver, debt.pool) in still_owed):
                still_owed.add((debt.driver, debt.pool))
                continue
            refused = None
            try:
                driver = self.ready(debt.driver, view)
                if not is_due(debt):
                    continue
                try:
                    _return(driver, debt)
                except PluginRefused as refusal:
                    refused = refusal.because
            except Refusal as fault:
                still_owed.add((debt.driver, debt.pool))
                self._wait_for(debt.driver)
                yield structs.replace(debt, why=fault.because), None
            else:
                self._waiting.pop(debt.driver, None)
                yield debt, refused

    def ask_again(self, debt: Debt, view: Views) -> None:
        """Ask for what somebody here was given in the moment in which it went back: it may have been taken from them.

        One that had it back before it gave it anew refuses, and nothing is lost.
        """
        driver = self._drivers.get(debt.driver)
        pool = view.driver_pools.find(debt.driver, debt.pool)
        if driver is None or pool is None:
            return
        with suppress(PluginFault):
            is_lost = not list(replay_one(driver, view, pool, debt.address))
            if is_lost and not driver.nature().requires_replay:  # which is given it either way
                self._differences.append(
                    f"IPAM plugin {debt.driver}: {debt} went back while another writer was given it; "
                    "it was asked for again, and given"
                )

    def take_differences(self) -> list[str]:
        """Say what plugins answered otherwise than the log has it, when they were asked again; each line once."""
        found, self._differences = self._differences, []
        return found

    # --- within

    def _remembered(
        self, index: int, command: CreateNetwork | CreateEndpoint, network: NetworkCreated | None, view: Views
    ) -> tuple[Command, IpamAnswers | None]:
        """Ask, unless this command of the batch has been answered before, and from the same state of its network."""
        basis = network.network if network is not None else None
        before = self._asked.get(index)
        if before is not None:
            if before.command == command and before.basis == basis and not _is_overtaken(before, network, view):
                return before.completed, before.answers
            self._unused += before.given
            del self._asked[index]
        asked = _Asked(command, basis, [], command, IpamAnswers())
        name = network.ipam_driver if network is not None else getattr(command, "ipam_driver", "")
        try:
            driver = self.ready(name, view)
            asking = _Asking(driver, view, self._host, asked.given)
            if isinstance(command, CreateNetwork):
                asked.completed, asked.answers = asking.network(command)
            else:
                assert network is not None, "an endpoint's network was found"
                asked.completed, asked.answers = asking.endpoint(command, network)
        except BaseException as error:
            self._unused += asked.given
            if isinstance(error, PluginFault):
                self.lost(name)
            raise
        self._asked[index] = asked
        return asked.completed, asked.answers

    def _try(self, debt: Debt) -> Debt | None:
        """Give something back at once; what the plugin refuses or does not answer is owed."""
        driver = self._drivers.get(debt.driver)
        try:
            if driver is None:  # it was lost meanwhile, and has not been told again what it had given
                driver = self._meet(debt.driver)
            _return(driver, debt)
        except Refusal as error:
            return structs.replace(debt, why=error.because)
        return None

    def _tell_again(self, retelling: Retelling, view: Views) -> None:
        """Tell a plugin again what it had given, as far as the time goes; what is told once is not told twice.

        But for one that may be another by the next time, without our knowing: that is told from the beginning.
        """
        try:
            for line in retelling.go_on(view, self._until):
                self._differences.append(line)
        except PluginFault:
            if self.is_out_of_time and retelling.driver.can_be_told_apart:
                self._retelling[retelling.driver.name] = retelling
            raise

    def _meet(self, name: str) -> RemoteIpam:
        """Find a driver by its name: a plugin's file, or another distribution; both at once are refused."""
        if name in self._in_process:
            return RemoteIpam(self._in_process[name])
        address: Address | NotFound
        try:
            address = find(name, self._directories)
        except NotFound as error:
            address = error
        made = self._elsewhere(name)
        if made is None:
            if isinstance(address, NotFound):
                raise address
            return RemoteIpam(Transport(name, address, self._limits, lambda: self._until))
        if isinstance(address, Address):
            because = f"a distribution has it, and so has {address.found_in}"
            raise Invalid(f"use IPAM driver {name!r}", because, "remove one of them: each has books of its own")
        self._in_process[name] = InProcess(made)
        return RemoteIpam(self._in_process[name])

    def _wait_for(self, name: str) -> None:
        self.lost(name)
        _, pause = self._waiting.get(name, (0.0, RETRY_SECONDS))
        self._waiting[name] = (time.monotonic() + pause, min(2 * pause, RETRY_SECONDS_LIMIT))


class _Asking(Struct):
    """One command's questions; whatever is given is noted in `given` at once."""

    driver: RemoteIpam
    view: Views
    host: HostId
    given: list[Debt]

    def network(self, command: CreateNetwork) -> tuple[Command, IpamAnswers]:
        """Ask for a network's pools, gateways and auxiliary addresses."""
        asked = f"create network {command.name!r}"
        needed = _needs_gateway(command)
        nature = self.driver.nature()
        options = {label: _text(value) for label, value in command.ipam_options.items()}
        requests = [structs.replace(request, space=_space(request, nature)) for request in command.pools]
        for request in requests:
            self._check(request, asked)
        answers: list[PoolAnswer] = []
        for request in requests:
            sub_pool = str(request.sub_pool) if request.sub_pool is not None else ""
            pool = self._pool(request, sub_pool, options, [answer.subnet for answer in answers])
            gateway = self._gateway(pool, request, is_needed=pool.block.family in needed)
            for _, address in sorted(request.auxiliary.items()):
                self._address(pool, address, None)
            answers.append(PoolAnswer(pool.block, pool.identifier, gateway, request.space))
        return command, IpamAnswers(pools=tuple(answers))

    def endpoint(self, command: CreateEndpoint, network: NetworkCreated) -> tuple[Command, IpamAnswers]:
        """Ask for an address of each family that an endpoint has; what our log holds already is not asked for."""
        disables_ipv6 = check_endpoint_options(command.options, f"create endpoint {command.name!r}")[0].disables_ipv6
        families = network.families - ({6} if disables_ipv6 else frozenset())
        given = {family_of(address): address for address in command.addresses}
        if len(given) < len(command.addresses) or not families.issuperset(given):
            return command, IpamAnswers(addresses=command.addresses)  # the rule says what is wrong with them
        options = {ENDPOINT_NAME: command.name}
        if self.driver.nature().requires_mac:
            mac = command.mac or self._mac(command)
            command = structs.replace(command, mac=mac)
            options[MAC] = format_mac(mac)
        addresses: list[bytes] = []
        for family in sorted(families):
            pools = [pool for pool in network.pools if pool.subnet.family == family]
            kept = (self.view.reservation_for(pool.pool, command.name) for pool in pools)
            reserved = next((made.event.address for made in kept if made is not None), b"")
            wanted = given.get(family) or reserved
            if wanted:
                pools = [pool for pool in pools if wanted in pool.subnet]
                if not pools or any(self.view.holder(pool.pool, wanted) is not None for pool in pools):
                    addresses.append(wanted)  # the rule says what is wrong with it
                    continue
            addresses.append(self._any_of([self._known(pool.pool) for pool in pools], wanted, options))
        return command, IpamAnswers(addresses=tuple(addresses))

    def _check(self, request: PoolRequest, asked: str) -> None:
        """Refuse what need not be asked for: it is refused whatever the answer."""
        if request.subnet is not None:
            self._check_free(request.space, request.subnet, asked)

    def _check_free(self, space: str, block: Subnet, asked: str) -> None:
        for pool in self.view.pools_of(scope_of(space, self.host), space):
            if pool.event.subnet.overlaps(block):
                user = self.view.pool_user(pool.event.pool)
                whose = name_of(self.view, ("network", user)) if user is not None else "somebody"
                raise Conflict(
                    asked, f"{block} overlaps {pool.event.subnet} of {whose}", "choose another", position=pool.position
                )

    def _pool(self, request: PoolRequest, sub_pool: str, options: Mapping[str, str], mine: Sequence[Subnet]) -> Pool:
        try:
            is_v6 = request.family == 6
            pool = self.driver.take_pool(
                request.space, request.subnet, sub_pool, options, is_v6=is_v6, size=request.size
            )
        except PluginFault as fault:
            if fault.given and not self._is_known(fault.given):
                self.given.append(Debt(self.driver.name, fault.given, b""))
            raise
        wrong = f"ask plugin {self.driver.name!r} for IpamDriver.RequestPool"
        if self._is_known(pool.identifier):
            raise PluginFault(wrong, f"a wrong answer: pool {pool.identifier!r} is held already", "mend the plugin")
        self.given.append(Debt(self.driver.name, pool.identifier, b""))
        self._check_free(request.space, pool.block, wrong)
        if any(block.overlaps(pool.block) for block in mine):
            raise PluginFault(wrong, f"a wrong answer: {pool.block} overlaps another of its pools", "mend the plugin")
        return pool

    def _gateway(self, pool: Pool, request: PoolRequest, *, is_needed: bool) -> bytes:
        """Have a gateway where one is asked for or needed; one that comes unneeded goes back at once."""
        if request.gateway or (is_needed and not pool.gateway):
            return self._address(pool, request.gateway or b"", {ADDRESS_TYPE: GATEWAY})
        if not pool.gateway:
            return b""
        debt = Debt(self.driver.name, pool.identifier, pool.gateway)
        self.given.append(debt)
        if is_needed:
            return pool.gateway
        with suppress(PluginRefused):  # its books are its own
            _return(self.driver, debt)
        self.given.remove(debt)
        return b""

    def _is_known(self, identifier: str) -> bool:
        """Whether a pool's id is that of a pool which we have of this plugin, by the log or by this command."""
        mine = any(debt.pool == identifier and debt.driver == self.driver.name for debt in self.given)
        return mine or self.view.driver_pools.find(self.driver.name, identifier) is not None

    def _address(self, pool: Pool, wanted: bytes, options: Mapping[str, str] | None) -> bytes:
        return self._take(pool.identifier, pool.block, wanted, options, None)

    def _any_of(self, pools: Sequence[_Known], wanted: bytes, options: Mapping[str, str]) -> bytes:
        """Ask one pool after the other, as libnetwork does, until one has an address."""
        for index, pool in enumerate(pools):
            try:
                return self._take(pool.identifier, pool.block, wanted, options, pool.pool)
            except PluginRefused:
                if index == len(pools) - 1:
                    raise
        raise AssertionError("a family of a network has a pool")

    def _take(
        self, identifier: str, block: Subnet, wanted: bytes, options: Mapping[str, str] | None, known: PoolId | None
    ) -> bytes:
        """Take an address; one that is held already is a wrong answer, and is not given back: it is its holder's."""
        name = self.driver.name
        try:
            address = self.driver.take_address(identifier, block, wanted, options)
        except PluginFault as fault:
            if fault.given:
                self._note(identifier, fault.given, known)
            raise
        holder = self.view.holder(known, address) if known is not None else None
        debt = Debt(name, identifier, address)
        if holder is not None or debt in self.given:
            whose = name_of(self.view, holder.event.owner) if holder is not None else "this command"
            raise PluginFault(
                f"ask plugin {name!r} for IpamDriver.RequestAddress",
                f"a wrong answer: {format_address(address)} is held by {whose} already"
                + (f" (position {holder.position})" if holder is not None else ""),
                "mend the plugin",
            )
        self.given.append(debt)
        return address

    def _note(self, identifier: str, text: str, known: PoolId | None) -> None:
        """Note a wrong address that a plugin gave, unless somebody holds it."""
        address = parse_address(text)
        debt = Debt(self.driver.name, identifier, address)
        if debt not in self.given and (known is None or self.view.holder(known, address) is None):
            self.given.append(debt)

    def _known(self, pool: PoolId) -> _Known:
        record = self.view.pool(pool)
        assert record is not None, "a network's pool is there"
        return _Known(pool, record.event.driver_pool, record.event.subnet)

    def _mac(self, command: CreateEndpoint) -> bytes:
        """Choose the MAC address that a plugin wants to know beforehand, as the rule would."""
        candidates = [mac_for(command.endpoint, attempt) for attempt in range(MAC_ATTEMPTS)]
        return next(mac for mac in candidates if self.view.mac_holder(command.network, mac) is None)


class _Known(Struct, frozen=True):
    """A pool of the log: our id, the plugin's, the block."""

    pool: PoolId
    identifier: str
    block: Subnet


def _is_overtaken(asked: _Asked, network: NetworkCreated | None, view: Views) -> bool:
    """Whether somebody else holds by now what was given: then it was given twice, and is not ours to use."""
    pools = network.pools if network is not None else ()
    return any(
        view.holder(pool.pool, address) is not None
        for pool in pools
        for address in asked.answers.addresses
        if address in pool.subnet
    )


def is_held(view: Views, debt: Debt) -> bool:
    """Whether the log holds what would go back to a plugin."""
    pool = view.driver_pools.find(debt.driver, debt.pool)
    return pool is not None and (not debt.address or view.holder(pool, debt.address) is not None)


def _return(driver: RemoteIpam, debt: Debt) -> None:
    if debt.address:
        driver.release_address(debt.pool, format_address(debt.address))
    else:
        driver.release_pool(debt.pool)


def _space(request: PoolRequest, nature: Nature) -> str:
    """Name the address space as the plugin does: its own default ones for ours."""
    return {LOCAL_DEFAULT: nature.local_space, GLOBAL_DEFAULT: nature.global_space}.get(request.space, request.space)


def _settled(view: Views, command: CreateNetwork, host: HostId) -> CreateNetwork:
    """Put the settings of the configuration network that it names into a command; what is wrong, its rule will say."""
    try:
        return with_configuration(view, command, host, "")[0]
    except Refusal:
        return command


def _traits(command: CreateNetwork) -> tuple[NetworkTraits, bool]:
    """Tell what a network will be like, and whether internal. Raises what its rule will say is wrong with it."""
    asked = f"create network {command.name!r}"
    driver = find_driver(command.driver)
    if driver is None:
        raise Invalid(asked, f"unknown driver {command.driver!r}", f"known: {', '.join(sorted(DRIVERS))}")
    options, internal = driver.settle(driver.options(command.options, asked), asked, internal=command.internal)
    return driver.traits(options), internal


def _needs_gateway(command: CreateNetwork) -> frozenset[int]:
    traits, internal = _traits(command)
    return traits.needs_gateway(internal=internal)


def _text(value: OptionValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
