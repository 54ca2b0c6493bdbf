"""Fixtures of the integration tests."""

from tests.integration.ec2 import ec2
from tests.integration.s3 import s3, s3_directory

__all__ = ["ec2", "s3", "s3_directory"]
