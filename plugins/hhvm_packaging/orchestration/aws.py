"""Clients of AWS, through the Airflow connection that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import botocore.session
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from botocore.loaders import Loader

from hhvm_packaging.settings import settings

if TYPE_CHECKING:
    from botocore.config import Config

_MODELS = Loader()
"""What botocore knows of AWS's services. To read it for one takes a tenth of a second of processor time."""


class _Hook(AwsBaseHook):
    """The provider's, which shares its models among async sessions alone."""

    def get_session(self, region_name: str | None = None, deferrable: bool = False) -> Any:
        session = super().get_session(region_name, deferrable)
        session._session.register_component("data_loader", _MODELS)  # ruff: ignore[private-member-access]  # boto3 has no public way
        return session


def client(service: str, *, region: str | None = None, config: Config | None = None) -> Any:
    """A boto3 client of a service; its region and configuration are the connection's unless given."""
    hook = _Hook(aws_conn_id=settings().aws_conn_id, client_type=service, region_name=region, config=config)
    # As get_conn(), which also looks through the stack for an operator's name to tell AWS. That takes longer.
    return hook.get_session().client(
        service,
        endpoint_url=hook.conn_config.get_service_endpoint_url(service),
        config=hook.config,
        verify=hook.verify,
    )


def preload() -> None:
    """Read what a client of S3 needs, for this process and those that are forked from it."""
    session = botocore.session.Session()
    session.register_component("data_loader", _MODELS)
    # Without any it would look for some, also where that takes seconds.
    session.set_credentials("unused", "unused")
    session.create_client("s3", region_name="us-east-1")
