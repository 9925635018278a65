"""The command line: parse, call, print; heavy modules are imported by the command that needs them."""
