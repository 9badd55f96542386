"""`netledger sandbox`: create, setkey, rename, rm, ls, inspect, stats.

Must not know: how a namespace is made or entered.
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from ...domain.errors import Invalid
from .exits import DONE
from .options import HERE, THIS_HOST, THIS_USER, Author, Force, Host, Labels, Log, Quiet, Request, pairs
from .printing import ID_SHOWN, as_builtins, document, fields, shown, table
from .removing import remove
from .session import carry_out, changing, looking, reading, status_of

app = App(name="sandbox", help="Sandboxes: the network namespaces of containers, which endpoints join.")


@app.command
def create(  # noqa: PLR0913  # a parameter for each option
    container: str,
    /,
    *,
    kind: Annotated[
        str,
        Parameter(
            help="managed: we make its namespace; attached: it is the one at --path; delegated: a runtime moves "
            "interfaces into one of its own; host: it is the host's own namespace. Else managed."
        ),
    ] = "managed",
    path: Annotated[str, Parameter(help="The path of its namespace, like /run/netns/NAME.")] = "",
    hostname: Annotated[str, Parameter(help="The container's host name.")] = "",
    domainname: Annotated[str, Parameter(help="The container's domain name.")] = "",
    files: Annotated[
        bool,
        Parameter(help="Write a hosts file and a resolv.conf for it; `inspect` tells where. So does any of these:"),
    ] = False,
    add_host: Annotated[tuple[str, ...], Parameter(help="A further line of its hosts file, NAME:ADDRESS.")] = (),
    dns: Annotated[tuple[str, ...], Parameter(help="A name server. Else the host's.")] = (),
    dns_search: Annotated[tuple[str, ...], Parameter(help="A search domain; . for none. Else the host's.")] = (),
    dns_option: Annotated[tuple[str, ...], Parameter(help="A resolver option. Else the host's.")] = (),
    hosts_path: Annotated[str, Parameter(help="Where its hosts file is to be. Else in the state directory.")] = "",
    resolv_conf_path: Annotated[
        str, Parameter(help="Where its resolv.conf is to be. Else in the state directory.")
    ] = "",
    label: Labels = (),
    id: Annotated[str | None, Parameter(help="Its id, 64 hex digits. Else a random one.")] = None,  # noqa: A002  # the option's name
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Create a sandbox for CONTAINER and print its id."""
    labels = pairs("--label", label)
    with changing(log, host, author) as controller:
        sandbox = controller.create_sandbox(
            container,
            kind=kind,
            path=path,
            hostname=hostname,
            domainname=domainname,
            files=files,
            extra_hosts=_extra_hosts(add_host),
            dns=dns,
            dns_search=dns_search,
            dns_options=dns_option,
            hosts_path=hosts_path,
            resolv_conf_path=resolv_conf_path,
            labels=labels,
            id=id,
            reason=author.reason,
            request=request,
        )
        if log.json:
            document(as_builtins(sandbox.info()))
        else:
            print(sandbox.id)
    return DONE.status


@app.command
def setkey(
    sandbox: str,
    path: str,
    /,
    *,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Hand over the namespace of a delegated SANDBOX, at PATH: its interfaces are configured in it from then on."""
    from ...domain.commands import SetSandboxKey

    with changing(log, host, author) as controller:
        command = SetSandboxKey(controller.sandbox(sandbox).id, path)
        return status_of(carry_out(controller, [command], log, author, request))


@app.command
def rename(
    sandbox: str,
    container: str,
    /,
    *,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Give the container of SANDBOX another name."""
    from ...domain.commands import RenameSandbox

    with changing(log, host, author) as controller:
        command = RenameSandbox(controller.sandbox(sandbox).id, container)
        return status_of(carry_out(controller, [command], log, author, request))


@app.command
def rm(
    sandbox: str,
    /,
    *others: str,
    force: Force = False,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Delete sandboxes, by id, container or id prefix; with --force, their endpoints are taken out first, and stay."""
    from ...domain.commands import DeleteSandbox
    from ...domain.values import SandboxId

    return remove(
        (sandbox, *others),
        lambda controller, text: controller.sandbox(text).id,
        lambda identity: DeleteSandbox(SandboxId(identity), force),
        log=log,
        host=host,
        author=author,
        request=request,
    )


@app.command
def ls(*, quiet: Quiet = False, log: Log = HERE) -> int:
    """List the sandboxes, the oldest first."""
    with reading(log) as controller:
        infos = [sandbox.info() for sandbox in controller.sandboxes()]
        if log.json:
            document([as_builtins(info) for info in infos])
        elif quiet:
            for info in infos:
                print(info.id)
        else:
            table(
                ("id", "container", "kind", "key", "endpoints"),
                ((info.id[:ID_SHOWN], info.container, info.kind, info.key, len(info.endpoints)) for info in infos),
            )
    return DONE.status


@app.command
def inspect(sandbox: str, /, *, log: Log = HERE) -> int:
    """Tell what a sandbox is, found by id, container or id prefix; `key` is the path of its namespace."""
    with reading(log) as controller:
        found = controller.sandbox(sandbox)
        info = found.info()
        if log.json:
            document(as_builtins(info))
        else:
            endpoints = tuple(
                f"{endpoint.network.name}/{endpoint.name} ({endpoint.id[:ID_SHOWN]})" for endpoint in found.endpoints()
            )
            fields({**shown(info), "endpoints": endpoints})
    return DONE.status


@app.command
def stats(sandbox: str, /, *, log: Log = HERE, host: Host = THIS_HOST) -> int:
    """Read what the interfaces in a sandbox have counted: packets, bytes, errors and drops, received and sent."""
    with looking(log, host) as controller:
        counted = controller.sandbox(sandbox).statistics()
    if log.json:
        document({name: as_builtins(counters) for name, counters in counted.items()})
    else:
        names = (
            "rx_packets",
            "rx_bytes",
            "rx_errors",
            "rx_dropped",
            "tx_packets",
            "tx_bytes",
            "tx_errors",
            "tx_dropped",
        )
        table(("interface", *names), ((name, *(getattr(each, one) for one in names)) for name, each in counted.items()))
    return DONE.status


def _extra_hosts(texts: tuple[str, ...]) -> dict[str, str]:
    """Read `NAME:ADDRESS` texts; an IPv6 address has more colons."""
    found: dict[str, str] = {}
    for text in texts:
        name, colon, address = text.partition(":")
        if not name or not colon or name in found:
            raise Invalid(f"--add-host {text!r}", "not NAME:ADDRESS, or given twice", "write it like db:10.0.0.9")
        found[name] = address
    return found
