"""The hosts file and the resolv.conf that a sandbox calls for now.

Keeps: they follow from the views alone. Knows nothing of: what is in any file.
"""

from __future__ import annotations

from ..domain.events import SandboxCreated
from ..domain.objects import File
from ..domain.resolution import hosts_text, resolv_conf_text
from .views import Views


def lower_files(views: Views, sandbox: SandboxCreated) -> list[File]:
    """List the files of a sandbox; none where its creator wants none."""
    resolution = sandbox.resolution
    if resolution is None:
        return []
    addresses = [
        held.address
        for endpoint in views.joined_to(sandbox.sandbox)
        if (record := views.endpoint(endpoint)) is not None
        for held in record.event.addresses
    ]
    has_ipv6 = any(len(address) > 4 for address in addresses)
    hosts = hosts_text(resolution, sandbox.hostname, sandbox.domainname, addresses)
    resolver = resolv_conf_text(resolution, has_ipv6=has_ipv6)
    return [
        File(sandbox.sandbox, resolution.hosts_path, hosts),
        File(sandbox.sandbox, resolution.resolv_conf_path, resolver),
    ]
