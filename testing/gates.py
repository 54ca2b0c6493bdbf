"""Deployments whose packages have nothing in them: the gates that look further find nothing there."""

from hhvm_packaging.settings import Gates

NO_GATES = {name: "off" for name, action in Gates() if name != "size_percent"}
"""The setting ``gates`` with all of them off."""
