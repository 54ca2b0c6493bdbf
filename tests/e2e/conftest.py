"""Fixtures of the end-to-end tests."""

from testing.deployer import deployer
from testing.short_builds import deployment

__all__ = ["deployer", "deployment"]
