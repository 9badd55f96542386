"""Ways in: each translates a protocol and decides nothing."""
