"""The demo: the whole system on one machine, from one command; see the Makefile."""
