"""Fixtures of the end-to-end tests."""

from testing.short_builds import deployment

__all__ = ["deployment"]
