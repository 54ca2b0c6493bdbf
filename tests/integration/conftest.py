"""Fixtures of the integration tests."""

from tests.integration.s3 import s3, s3_directory

__all__ = ["s3", "s3_directory"]
