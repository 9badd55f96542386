"""The public testing kit: strategies, checkers, state machines, contracts and fixtures for networks and allocation."""
