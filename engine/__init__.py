"""The imperative shell: the controller and its objects."""
