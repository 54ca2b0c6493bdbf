"""Fixtures of the tests of deploying."""

from testing.deployer import deployer

__all__ = ["deployer"]
