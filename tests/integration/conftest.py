"""Fixtures of the integration tests."""

from testing.ec2_fixtures import ec2
from testing.s3 import conditional_s3, moto, s3, s3_directory, s3_server

__all__ = ["conditional_s3", "ec2", "moto", "s3", "s3_directory", "s3_server"]
