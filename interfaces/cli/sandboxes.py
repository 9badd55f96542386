"""`netledger sandbox`: create, setkey, rename, rm, ls, inspect, stats.

Must not know: how a namespace is made or entered.
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

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
