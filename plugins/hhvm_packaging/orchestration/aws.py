"""Clients of AWS, through the Airflow connection that the settings name."""

from __future__ import annotations

from typing import Any

import boto3
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from botocore.config import Config
from botocore.exceptions import NoRegionError

from hhvm_packaging import environment
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.settings import Settings, settings

CLIENTS: dict[str, Any] = {"retries": {"mode": "standard", "total_max_attempts": 6}}
"""The configuration of the clients of all services, where the connection has no other.

A call that fails for a passing reason is repeated for about a quarter of a minute, after growing, random
delays. By default boto3 gives up on S3's errors within a tenth of a second.
"""


class NoRegion(PackagingError):
    """A connection to AWS does not say in which region. The message says what to set."""

    def __init__(self, conn_id: str, service: str) -> None:
        super().__init__(
            f"The connection {conn_id} has no region for {service}. Add region_name to its extra fields, "
            f'such as {{"region_name": "{settings().ec2.region}"}}, or set AWS_DEFAULT_REGION'
        )


def client(service: str, *, region: str | None = None) -> Any:
    """A boto3 client of a service. Region and configuration are the connection's, unless one is given.

    Raises InvalidSettings if an extra field of the connection is one of our settings, NoRegion if the service
    needs a region and there is none.
    """
    conn_id = settings().aws_conn_id
    hook = AwsBaseHook(aws_conn_id=conn_id, client_type=service, region_name=region)
    environment.refuse_in_extra(conn_id, hook.conn_config.extra_config, Settings)
    try:
        made: Any = hook.get_client_type(config=Config(**CLIENTS).merge(hook.config))
    except NoRegionError as error:
        raise NoRegion(conn_id, service) from error
    is_amazons_store = service == "s3" and "amazonaws" in made.meta.endpoint_url
    # Without one boto3 asks S3 in us-east-1, which redirects. Other stores have no regions.
    if is_amazons_store and not (region or hook.region_name or boto3.Session().region_name):
        raise NoRegion(conn_id, service)
    return made
