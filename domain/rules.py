"""Which rule decides which command.

Keeps: every command has one rule. Knows nothing of: what any rule does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from . import commands, configuration_networks, endpoints, firewalls, hosts, joining, leases, networks, sandboxes
from .decision import Context, Decision
from .view import View

Rule: TypeAlias = Callable[[View, Any, Context], Decision]  # Any: each rule takes its own command

RULES: dict[type[commands.Command], Rule] = {
    commands.CreateNetwork: networks.create_network,
    commands.DeleteNetwork: networks.delete_network,
    commands.CreateConfigurationNetwork: configuration_networks.create_configuration_network,
    commands.CreateEndpoint: endpoints.create_endpoint,
    commands.DeleteEndpoint: endpoints.delete_endpoint,
    commands.JoinEndpoint: joining.join_endpoint,
    commands.LeaveEndpoint: joining.leave_endpoint,
    commands.AddAlias: endpoints.add_alias,
    commands.RemoveAlias: endpoints.remove_alias,
    commands.CreateSandbox: sandboxes.create_sandbox,
    commands.DeleteSandbox: sandboxes.delete_sandbox,
    commands.LoseSandbox: sandboxes.lose_sandbox,
    commands.SetSandboxKey: sandboxes.set_sandbox_key,
    commands.RenameSandbox: sandboxes.rename_sandbox,
    commands.RegisterHost: hosts.register_host,
    commands.RecordBoot: hosts.record_boot,
    commands.Configure: leases.configure,
    commands.ChooseFirewall: firewalls.choose_firewall,
    commands.RetireFirewall: firewalls.retire_firewall,
    commands.RequestPool: leases.request_pool,
    commands.ReleasePool: leases.release_pool,
    commands.RequestAddress: leases.request_address,
    commands.ReleaseAddress: leases.release_address,
    commands.ReserveAddress: leases.reserve_address,
    commands.EndReservation: leases.end_reservation,
    commands.Expire: leases.expire,
}


def decide(view: View, command: commands.Command, context: Context) -> Decision:
    """Decide a command, or raise a `Refusal`."""
    return RULES[type(command)](view, command, context)
