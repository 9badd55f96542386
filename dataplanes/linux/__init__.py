"""The Linux kernel's dataplane: netlink, namespaces, firewall backends."""

from .dataplane import LinuxDataplane

__all__ = ["LinuxDataplane"]
