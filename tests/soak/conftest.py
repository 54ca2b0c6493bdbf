"""Fixtures of the soak tests."""

from testing.short_builds import deployment

__all__ = ["deployment"]
