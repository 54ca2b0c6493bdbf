"""Fixtures of the attacks."""

from testing.s3 import conditional_s3, moto, s3, s3_directory, s3_server

__all__ = ["conditional_s3", "moto", "s3", "s3_directory", "s3_server"]
