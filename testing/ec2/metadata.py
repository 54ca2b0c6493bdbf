"""The metadata service (IMDSv2) of all instances, at ``/metadata/INSTANCE/latest/…``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


class Metadata:
    """The WSGI application; ``backend`` is moto's EC2."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        return self._answer(environ)(environ, start_response)

    def _answer(self, environ: WSGIEnvironment) -> Response:
        _, _, name, _, path = environ["PATH_INFO"].split("/", 4)
        instance, token = self._backend.get_instance(name), f"token-of-{name}"
        if environ["REQUEST_METHOD"] == "PUT":
            if path != "api/token" or "HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS" not in environ:
                return Response(status=400)
            return Response(token)
        given = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN")
        required = instance.metadata_options.http_tokens == "required"
        if given != token and (given or required):
            return Response(status=401)
        value = self._values(instance).get(path.rstrip("/"))
        return Response(status=404) if value is None else Response(value)

    def _values(self, instance: Any) -> dict[str, str]:
        """What there is to ask for, by path below ``latest/``."""
        name, kind, region = instance.id, instance.instance_type, instance.region_name
        identity = {"instanceId": name, "instanceType": kind, "region": region}
        values = {
            "user-data": instance.user_data.decode() if instance.user_data else "",
            "dynamic/instance-identity/document": json.dumps(identity),
            "meta-data/instance-id": name,
            "meta-data/instance-type": kind,
            "meta-data/instance-life-cycle": instance.lifecycle or "on-demand",
            "meta-data/placement/region": region,
            "meta-data/placement/availability-zone": instance.placement.zone,
        }
        # As with EC2: no instance profile, no credentials.
        if association := self._backend.iam_instance_profile_associations.get(name):
            [role] = association.iam_instance_profile.roles
            roles = "meta-data/iam/security-credentials"
            values |= {roles: role.name, f"{roles}/{role.name}": json.dumps(_credentials(name))}
        return values


def _credentials(name: str) -> dict[str, str]:
    """Their access key is the instance's id, so that its calls can be told from others'."""
    return {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": name,
        "SecretAccessKey": "emulated",
        "Token": "emulated",
        "LastUpdated": "2020-01-01T00:00:00Z",
        "Expiration": "2099-01-01T00:00:00Z",
    }
