"""TLS to a plugin, as Docker's plugin specifications ask for it.

Keeps: a plugin's certificate is verified, against its authority and its host's name, unless its file says in so many
words that it is not to be. Knows nothing of: what is said on connections, where the files are named.
Source: docker, go-connections/tlsconfig. (Docker itself verifies nothing where no CAFile is named.)
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    import ssl


class Tls(Struct, frozen=True):
    """How a plugin is to be trusted, and what it is shown: paths of PEM files; empty authority: this machine's own."""

    authority: str = ""
    certificate: str = ""
    key: str = ""
    is_unverified: bool = False


def secured(connected: socket.socket, host: str, tls: Tls) -> ssl.SSLSocket:
    """Agree on TLS over a connected socket, within its timeout.

    Raises `OSError`, with the file's name where one of them is of no use.
    """
    import ssl  # takes longer to load than most commands take

    try:
        context = ssl.create_default_context(cafile=tls.authority or None)
    except OSError as error:
        raise OSError(f"CAFile {tls.authority} cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.is_unverified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key, password=_nothing)
    except OSError as error:
        raise OSError(f"CertFile {tls.certificate} with KeyFile {tls.key} cannot be used: {error}") from error
    return context.wrap_socket(connected, server_hostname=host)


def _nothing() -> str:
    """Answer for a key's password, which OpenSSL would ask for at the terminal."""
    return ""
