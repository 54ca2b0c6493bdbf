"""What AWS says of an account's roles and quotas, which moto does not."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from moto.iam.exceptions import NotFoundException
from werkzeug.wrappers import Response

from testing.ec2 import identity
from testing.ec2.policy import Demand, Policy

if TYPE_CHECKING:
    from collections.abc import Mapping

QUOTAS = {"L-1216C47A": 256.0, "L-34B43A08": 256.0, "L-7A658B76": 50.0}
"""vCPUs on demand, spot vCPUs, TiB of gp3 volumes. A new account of AWS has fewer vCPUs."""
_NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"


def answer(service: str, action: str, form: Mapping[str, str], content: bytes) -> Response | None:
    """The answer to a call of these; None for any other."""
    if (service, action) == ("iam", "SimulatePrincipalPolicy"):
        return _simulate(form)
    if (service, action) == ("servicequotas", "GetServiceQuota"):
        code = json.loads(content)["QuotaCode"]
        quota: dict[str, Any] = {"Quota": {"QuotaCode": code, "Value": QUOTAS[code]}}
        return Response(json.dumps(quota), mimetype="application/x-amz-json-1.1")
    return None


def _simulate(form: Mapping[str, str]) -> Response:
    """See "SimulatePrincipalPolicy" in the IAM API Reference, for one action and one resource."""
    role = form["PolicySourceArn"].rpartition("/")[2]
    try:
        policy = Policy(role, identity.statements(role))
    except NotFoundException:
        error = f"<Error><Code>NoSuchEntity</Code><Message>{escape(role)}</Message></Error>"
        content = f'<ErrorResponse xmlns="{_NAMESPACE}">{error}</ErrorResponse>'
        return Response(content, 404, mimetype="text/xml")
    context = {
        name: form[key.replace("ContextKeyName", "ContextKeyValues.member.1")]
        for key, name in form.items()
        if re.fullmatch(r"ContextEntries\.member\.\d+\.ContextKeyName", key)
    }
    action, resource = form["ActionNames.member.1"], form["ResourceArns.member.1"]
    decision = "allowed" if policy.allows(Demand(action, resource, context)) else "implicitDeny"
    member = (
        f"<EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName><EvalDecision>{decision}</EvalDecision>"
    )
    return Response(
        f'<SimulatePrincipalPolicyResponse xmlns="{_NAMESPACE}"><SimulatePrincipalPolicyResult>'
        f"<IsTruncated>false</IsTruncated><EvaluationResults><member>{member}</member></EvaluationResults>"
        "</SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>",
        mimetype="text/xml",
    )
