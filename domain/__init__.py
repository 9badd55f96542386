"""Container networking as values, events, commands and rules, without effects."""
