"""Clients of AWS, through the Airflow connection that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

from hhvm_packaging import environment
from hhvm_packaging.settings import Settings, settings

if TYPE_CHECKING:
    from botocore.config import Config


def client(service: str, *, region: str | None = None, config: Config | None = None) -> Any:
    """A boto3 client of a service. Region and configuration are the connection's, unless they are given.

    Raises InvalidSettings if an extra field of the connection is one of our settings.
    """
    conn_id = settings().aws_conn_id
    hook = AwsBaseHook(aws_conn_id=conn_id, client_type=service, region_name=region, config=config)
    environment.refuse_in_extra(conn_id, hook.conn_config.extra_config, Settings)
    return hook.get_conn()
