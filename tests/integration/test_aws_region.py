"""A connection to AWS without a region."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.orchestration import aws

if TYPE_CHECKING:
    from collections.abc import Callable

    Connect = Callable[[dict[str, str]], None]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Make the connection, with these extra fields."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")

    def make(extra: dict[str, str]) -> None:
        connection = {"conn_type": "aws", "login": "x", "password": "x", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_HHVM_AWS", json.dumps(connection))

    return make


@pytest.mark.parametrize("service", ["kms", "s3"])
def test_a_connection_without_a_region_is_refused_with_what_to_set(connect: Connect, service: str) -> None:
    connect({})
    with pytest.raises(aws.NoRegion, match=rf"hhvm_aws has no region for {service}\. Add region_name"):
        aws.client(service)


@pytest.mark.parametrize("service", ["kms", "s3", "cloudfront"])
def test_a_connection_with_a_region_is_taken(connect: Connect, service: str) -> None:
    connect({"region_name": "eu-central-1"})
    assert aws.client(service)


def test_a_store_that_is_not_amazons_needs_no_region(connect: Connect) -> None:
    connect({"endpoint_url": "http://127.0.0.1:8082"})
    assert aws.client("s3").meta.endpoint_url == "http://127.0.0.1:8082"
    assert aws.client("cloudfront")
