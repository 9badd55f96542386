"""Desired state to a kernel, real or simulated."""
