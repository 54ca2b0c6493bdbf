"""Fixtures of the integration tests."""

from testing.ec2_fixtures import ec2
from testing.s3 import s3, s3_directory, s3_server

__all__ = ["ec2", "s3", "s3_directory", "s3_server"]
