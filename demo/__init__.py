"""The demo: the whole system on one machine, from one command. ``python -m demo --help``."""
