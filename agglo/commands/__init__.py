"""The commands: dataclasses of their arguments, thin over the functions that do the work."""
