"""Fixtures of the attacks."""

from testing.built import bench
from testing.s3 import conditional_s3, moto, s3, s3_directory, s3_server

__all__ = ["bench", "conditional_s3", "moto", "s3", "s3_directory", "s3_server"]
