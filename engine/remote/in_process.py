"""Calling an IPAM driver that lives in this process, as if it were a plugin.

Keeps: what its methods return is checked as a plugin's JSON is, what they raise is a refusal or a fault, and nothing
else goes through but what ends the process. Knows nothing of: where the driver comes from, what the calls mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec
from msgspec import Struct

from ...domain.errors import Invalid, Refusal
from ...domain.ipam.driver import IpamDriver
from .transport import AnswerT, PluginFault, PluginRefused, said
from .wire import AddressReturned, AddressWanted, PoolReturned, PoolWanted

Answer: TypeAlias = dict[str, object]


class InProcess:
    """Calls to one driver of this process, in the words of the protocol."""

    def __init__(self, driver: IpamDriver) -> None:
        self.name = driver.name
        self._driver = driver
        self._refusals: tuple[type[Exception], ...] = (Refusal, *_exceptions(driver))

    def call(self, method: str, question: Struct | None, answer: type[AnswerT], *, is_safe: bool = False) -> AnswerT:
        """Ask `method` ("IpamDriver.RequestPool"); return the answer. Nothing is ever asked twice.

        Raises `PluginFault` and `PluginRefused`.
        """
        del is_safe
        asked = f"ask IPAM driver {self.name!r} in this process for {method}"
        try:
            given = _CALLS[method](self._driver, question)
        except self._refusals as refusal:
            words = refusal.because if isinstance(refusal, Refusal) else said(str(refusal))
            raise PluginRefused(asked, f"it refuses: {words or type(refusal).__name__}") from refusal
        except Exception as error:  # whatever somebody else's code may raise
            raise PluginFault(asked, f"no answer: {type(error).__name__}: {said(str(error))}", "mend it") from error
        try:
            converted = msgspec.convert(given, answer)
            msgspec.msgpack.encode(converted)  # which text that is no text cannot be
        except (msgspec.ValidationError, UnicodeEncodeError) as problem:
            raise PluginFault(asked, f"a wrong answer: {problem}: {said(ascii(given))}", "mend it") from None
        return converted

    def incarnation(self) -> tuple[int, int] | None:
        """Tell one driver from the next: it lives as long as we do."""
        return (0, 0)


def _exceptions(driver: IpamDriver) -> tuple[type[Exception], ...]:
    """Read what a driver refuses with; Invalid where that is no tuple of exceptions."""
    given: object = driver.refusals
    if isinstance(given, tuple) and all(isinstance(each, type) and issubclass(each, Exception) for each in given):
        return given
    asked = f"use IPAM driver {driver.name!r} in this process"
    raise Invalid(asked, f"its `refusals` are no tuple of exceptions: {given!r}", "mend it")


def _pool(driver: IpamDriver, question: object) -> Answer:
    assert isinstance(question, PoolWanted), "what RequestPool asks"
    asked = (question.AddressSpace, question.Pool, question.SubPool, question.Options, question.V6)
    identifier, block, data = driver.request_pool(*asked)
    return {"PoolID": identifier, "Pool": block, "Data": data}


def _address(driver: IpamDriver, question: object) -> Answer:
    assert isinstance(question, AddressWanted), "what RequestAddress asks"
    address, data = driver.request_address(question.PoolID, question.Address, question.Options or {})
    return {"Address": address, "Data": data}


def _release_pool(driver: IpamDriver, question: object) -> Answer:
    assert isinstance(question, PoolReturned), "what ReleasePool asks"
    driver.release_pool(question.PoolID)
    return {}


def _release_address(driver: IpamDriver, question: object) -> Answer:
    assert isinstance(question, AddressReturned), "what ReleaseAddress asks"
    driver.release_address(question.PoolID, question.Address)
    return {}


def _spaces(driver: IpamDriver, _: object) -> Answer:
    local, everywhere = driver.get_default_address_spaces()
    return {"LocalDefaultAddressSpace": local, "GlobalDefaultAddressSpace": everywhere}


_CALLS: dict[str, Callable[[IpamDriver, object], Answer]] = {
    "Plugin.Activate": lambda _, __: {"Implements": ["IpamDriver"]},
    "IpamDriver.GetCapabilities": lambda driver, _: dict(driver.get_capabilities()),
    "IpamDriver.GetDefaultAddressSpaces": _spaces,
    "IpamDriver.RequestPool": _pool,
    "IpamDriver.ReleasePool": _release_pool,
    "IpamDriver.RequestAddress": _address,
    "IpamDriver.ReleaseAddress": _release_address,
}
