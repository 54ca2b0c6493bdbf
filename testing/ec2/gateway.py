"""What stands before moto: it records each call, and refuses what the caller's role may not do.

A test can also make calls fail. It is part of the server, so it works for every process that calls, and
for the instances.
"""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree  # ruff: ignore[suspicious-xml-etree-import]  # reads what moto writes
from xml.sax.saxutils import escape

from moto.backends import get_backend
from werkzeug.wrappers import Request, Response

from testing import account
from testing.ec2 import account_api, demands, identity
from testing.ec2.policy import Demand, Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


USER_DATA_LIMIT = 16 * 1024
AIRFLOW = "airflow"
"""The caller that has Airflow's role."""
IMDS: dict[str, Any] = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
"""Without these metadata options nothing is launched."""

COPY_LIMIT = 5 * 1024**3
"""Bytes that one CopyObject copies at most, see "CopyObject" in the S3 API Reference."""
CONSOLE_LIMIT = 64 << 10
"""Bytes of a console that are kept, see "GetConsoleOutput" in the EC2 API Reference."""

# See "Error codes for the Amazon EC2 API" in the EC2 API Reference and "Error responses" in that of S3. All
# other errors are the caller's, with the status 400.
_STATUS = {
    "AccessDenied": 403,
    "ConditionalRequestConflict": 409,
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
    "UnfulfillableCapacity": 500,
}
_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/[^/]*/([^/]+)/")
_BOOTS_ONCE = ("StartInstances", "RebootInstances")


@dataclass(frozen=True)
class Call:
    """One API call, in the words of an IAM policy."""

    caller: str
    """The access key: an instance's own id for those that it got as its role, empty for nobody's."""
    action: str
    """Such as ``ec2:RunInstances``."""
    resource: str = ""
    """``BUCKET/KEY`` for S3."""


@dataclass(frozen=True)
class Launch:
    """One RunInstances call, whether it launched or not."""

    caller: str
    parameters: dict[str, Any]
    """As on the wire, nested: ``parameters["MetadataOptions"]["HttpTokens"]``, ``["SecurityGroupId"][0]``."""
    instances: tuple[str, ...]
    """Their ids; those of the first call for a repeated ClientToken."""
    error: str = ""
    """The code that was answered, ``connection lost`` for no answer, or empty."""

    @property
    def user_data(self) -> str:
        """The script that the instance runs."""
        return _user_data(self.parameters).decode(errors="replace")

    def tags(self, resource: str = "instance") -> dict[str, str]:
        """The tags that the launch gives to a kind of resource."""
        return {
            tag["Key"]: tag.get("Value", "")
            for specification in self.parameters.get("TagSpecification", ())
            if specification["ResourceType"] == resource
            for tag in specification["Tag"]
        }


@dataclass
class Fault:
    """What befalls the next launches that match."""

    code: str
    """The error that is answered; empty: the connection is lost without an answer."""
    times: int
    """How many calls yet, botocore's own retries included."""
    launches: bool = False
    """Whether the instances start nevertheless."""
    instance_type: str | None = None
    zone: str | None = None
    market: str | None = None
    """``spot`` or ``on-demand``."""

    def befalls(self, instance_type: str, zone: str, market: str) -> bool:
        """Whether such a launch meets it."""
        wanted = (self.instance_type, self.zone, self.market)
        pairs = zip(wanted, (instance_type, zone, market), strict=True)
        return self.times > 0 and all(want in (None, given) for want, given in pairs)


@dataclass
class CallFault:
    """What befalls the next calls that match: they are slow, or fail without an effect."""

    code: str
    """The error that is answered; empty: none."""
    times: int
    """How many calls yet, botocore's own retries included."""
    action: str = ""
    """How the action begins, such as ``s3:`` or ``ec2:DescribeInstances``."""
    resource: str = ""
    """How the resource ends, such as ``/result.json``."""
    caller: str = ""
    """How the caller's access key begins: ``i-`` for instances."""
    conditional: bool = False
    """Whether it befalls writes with a condition alone."""
    seconds: float = 0
    """How late the answer is."""

    def befalls(self, call: Call, *, conditional: bool) -> bool:
        """Whether such a call meets it."""
        return (
            self.times > 0
            and call.action.startswith(self.action)
            and call.resource.endswith(self.resource)
            and call.caller.startswith(self.caller)
            and conditional >= self.conditional
        )


@dataclass(frozen=True)
class _Answered:
    """A launch by ClientToken."""

    parameters: dict[str, Any]
    content: bytes
    instances: tuple[str, ...]


class Gateway:
    """The WSGI application before ``moto``.

    ``lock`` is held during each EC2 call, and ``settle`` called at its end with the lock still held, so that
    nobody sees the states that moto skips to. ``hidden`` are the instances that EC2 does not show yet.
    ``zone_of`` knows a subnet's zone, ``alive`` how many instances there are of a market, or of all, and
    ``console`` what an instance printed.
    """

    def __init__(
        self,
        moto: WSGIApplication,
        metadata: WSGIApplication,
        lock: threading.RLock,
        settle: Callable[[], None],
        zone_of: Callable[[str], str],
        alive: Callable[[str], int],
        hidden: Callable[[], set[str]],
        console: Callable[[str], str],
    ) -> None:
        self.calls: list[Call] = []
        self.launches: list[Launch] = []
        self.faults: list[Fault] = []
        self.call_faults: list[CallFault] = []
        self.copy_limit = COPY_LIMIT
        self._policies: dict[str, Policy] = {}
        self.denied: list[Demand] = []
        """What no policy allowed."""
        self.account_limit = 1000
        """How many instances there may be at once."""
        self.spot_limit = 1000
        """How many of them may be spot instances."""
        self.peak = 0
        """How many there were at once."""
        self._moto = moto
        self._metadata = metadata
        self._lock = lock
        self._settle = settle
        self._zone_of = zone_of
        self._alive = alive
        self._hidden = hidden
        self._console = console
        self._choosing = threading.Lock()
        self._answered: dict[str, _Answered] = {}

    def policy(self, role: str) -> Policy:
        """What a role may do, as it was deployed when it was asked for first."""
        if role not in self._policies:
            self._policies[role] = Policy(role, identity.statements(role))
        return self._policies[role]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if environ["PATH_INFO"].startswith("/metadata/"):
            return self._metadata(environ, start_response)
        caller, service = _signer(environ)
        if service == "s3":
            calls = _s3_calls(caller, environ)
            self.calls += calls
            wanted = [demand for call in calls for demand in demands.of_s3(call.action, call.resource)]
            answer = (
                self._meet_fault(calls, environ, _rest_error)
                or self._denial(caller, wanted, _rest_error)
                or self._s3_refusal(calls, environ)
                or self._s3(calls, environ)
            )
            return answer(environ, start_response)
        if service == "cloudfront":
            return self._cloudfront(caller, environ)(environ, start_response)
        content = _content(environ)
        form = dict(parse_qsl(content.decode(), keep_blank_values=True))
        action = form.get("Action") or environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        self.calls.append(Call(caller, f"{service}:{action}"))
        if action == "GetCallerIdentity" and (caller_id := _user_id(caller)):
            return Response(identity.describe(caller_id), mimetype="text/xml")(environ, start_response)
        if told := account_api.answer(service, action, form, content):
            return told(environ, start_response)
        if service != "ec2":
            wanted = [] if "Action" in form else list(demands.of_json(service, action, content))
            answer = self._denial(caller, wanted, _json_error) or self._moto
            return answer(environ, start_response)
        if fault := self._meet_fault(self.calls[-1:], environ, _error):
            return fault(environ, start_response)
        with self._lock:
            response = self._ec2(action, caller, form, environ)
            self._settle()
        if response is None:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            response = Response()
        return response(environ, start_response)

    def _cloudfront(self, caller: str, environ: WSGIEnvironment) -> WSGIApplication:
        """CloudFront's answer, where an invalidation is under way until it was looked at."""
        [wanted] = demands.of_cloudfront(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        seen = Call(caller, wanted.action, environ["PATH_INFO"])
        status = b"Completed" if seen in self.calls else b"InProgress"
        self.calls.append(seen)
        if denial := self._denial(caller, [wanted], _rest_error):
            return denial
        answer = Response.from_app(self._moto, environ)
        # moto has it done at once, in capitals.
        answer.set_data(answer.get_data().replace(b">COMPLETED<", b">" + status + b"<"))
        return answer

    def _meet_fault(
        self, calls: list[Call], environ: WSGIEnvironment, error: Callable[[str, str], Response]
    ) -> Response | None:
        """Be late if a fault says so. Returns the error that it answers; None if it answers none."""
        conditional = "HTTP_IF_MATCH" in environ or "HTTP_IF_NONE_MATCH" in environ
        with self._choosing:
            for fault in self.call_faults:
                if any(fault.befalls(call, conditional=conditional) for call in calls):
                    fault.times -= 1
                    break
            else:
                return None
        time.sleep(fault.seconds)
        if not fault.code:
            return None
        _content(environ)
        return error(fault.code, "As the test wants it.")

    def _s3_refusal(self, calls: list[Call], environ: WSGIEnvironment) -> Response | None:
        """What S3 refuses and moto does not."""
        if len(calls) == 1 or "uploadId" in environ.get("QUERY_STRING", ""):
            return None
        bucket, _, key = calls[1].resource.partition("/")
        copied = get_backend("s3")[demands.ACCOUNT]["aws"].head_object(bucket, key)
        if copied is None or copied.size <= self.copy_limit:
            return None
        return _rest_error(
            "InvalidRequest",
            "The specified copy source is larger than the maximum allowable size for a copy source: "
            f"{self.copy_limit}",
        )

    def _s3(self, calls: list[Call], environ: WSGIEnvironment) -> WSGIApplication:
        """S3's answer.

        Who may not list a bucket does not learn that a key is missing: see "Permissions" of "GetObject" and
        "HeadObject" in the S3 API Reference.
        """
        [call, *_] = calls
        role = _role(call.caller)
        if call.action != "s3:GetObject" or role is None:
            return self._moto
        answer = Response.from_app(self._moto, environ)
        bucket = f"arn:aws:s3:::{call.resource.partition('/')[0]}"
        if answer.status_code == 404 and not self.policy(role).allows(Demand("s3:ListBucket", bucket)):
            return _rest_error("AccessDenied", "Access Denied")
        return answer

    def _ec2(
        self, action: str, caller: str, form: dict[str, str], environ: WSGIEnvironment
    ) -> Response | None:
        """What is answered, or None for a lost connection."""
        if action in _BOOTS_ONCE:
            return _error("UnsupportedOperation", "An emulated instance boots once.")
        token = form.pop("ClientToken", "")
        parameters = _nested(form)
        if denial := self._denial(caller, demands.of_ec2(action, parameters), _error):
            return denial
        hidden = self._hidden()
        if unknown := hidden & {*parameters.get("InstanceId", ())}:
            return _error("InvalidInstanceID.NotFound", f"The instance IDs {sorted(unknown)} do not exist")
        if action == "DescribeInstances":
            return _leave_out(hidden, Response.from_app(self._moto, environ))
        if action == "GetConsoleOutput":
            return _console_output(parameters["InstanceId"], self._console(parameters["InstanceId"]))
        if action != "RunInstances":
            return Response.from_app(self._moto, environ)
        answer, instances, error = self._launch(token, parameters, environ)
        self.launches.append(Launch(caller, parameters, instances, error))
        return answer

    def _denial(
        self, caller: str, wanted: Iterable[Demand], error: Callable[[str, str], Response]
    ) -> Response | None:
        """The answer, if the caller has a role and its policy does not allow all of that.

        Other callers than Airflow and the instances may do everything.
        """
        if (role := _role(caller)) is not None:
            known = {"aws:userid": caller_id} if (caller_id := _user_id(caller)) else {}
            wanted = [replace(demand, context={**demand.context, **known}) for demand in wanted]
            denied = [demand for demand in wanted if not self.policy(role).allows(demand)]
            self.denied += denied
            for demand in denied:
                message = f"{role} of deploy/aws does not allow {demand.action} on {demand.resource}"
                return error("AccessDenied", message)
        return None

    def _launch(
        self, token: str, parameters: dict[str, Any], environ: WSGIEnvironment
    ) -> tuple[Response | None, tuple[str, ...], str]:
        """The answer, the instances' ids and the error's code."""
        fault = self._fault(parameters)
        if fault and not fault.launches:
            return _error(fault.code, "As the test wants it."), (), fault.code
        if refusal := self._refusal(token, parameters):
            return _error(*refusal), (), refusal[0]
        answered = self._answered.get(token)
        if not answered:
            response = Response.from_app(self._moto, environ)
            content = response.get_data()
            if response.status_code != 200:
                return response, (), (re.findall(r"<Code>(.*?)</Code>", content.decode()) or ["?"])[0]
            instances = tuple(re.findall(r"<instanceId>(.*?)</instanceId>", content.decode()))
            self.peak = max(self.peak, self._alive(""))
            answered = _Answered(parameters, content, instances)
            if token:
                self._answered[token] = answered
        if fault and fault.code:
            return _error(fault.code, "As the test wants it."), answered.instances, fault.code
        if fault:
            return None, answered.instances, "connection lost"
        return Response(answered.content, mimetype="text/xml"), answered.instances, ""

    def _fault(self, parameters: dict[str, Any]) -> Fault | None:
        placement = parameters.get("Placement", {}).get("AvailabilityZone", "")
        subnets = [
            parameters.get("SubnetId"),
            *(nic.get("SubnetId") for nic in parameters.get("NetworkInterface", ())),
        ]
        zone = placement or next((self._zone_of(subnet) for subnet in subnets if subnet), "")
        market = parameters.get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
        for fault in self.faults:
            if fault.befalls(parameters.get("InstanceType", ""), zone, market):
                fault.times -= 1
                return fault
        return None

    def _refusal(self, token: str, parameters: dict[str, Any]) -> tuple[str, str] | None:
        """What EC2 refuses and moto does not: a code and a message."""
        if len(_user_data(parameters)) > USER_DATA_LIMIT:
            return "InvalidParameterValue", f"User data is limited to {USER_DATA_LIMIT} bytes"
        options = parameters.get("MetadataOptions", {})
        if any(options.get(name) != str(value) for name, value in IMDS.items()):
            return "UnauthorizedOperation", f"Each launch must have the metadata options {IMDS}"
        market = parameters.get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
        if token not in self._answered and market == "spot" and self._alive("spot") >= self.spot_limit:
            return "MaxSpotInstanceCountExceeded", "Max spot instance count exceeded"
        if token not in self._answered and self._alive("") >= self.account_limit:
            return "VcpuLimitExceeded", f"The account may have {self.account_limit} instances at once."
        if token in self._answered and self._answered[token].parameters != parameters:
            return "IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent"
        return None


def _role(caller: str) -> str | None:
    """The role of Airflow or of an instance, empty for one without; None for any other caller."""
    if caller == AIRFLOW:
        return account.AIRFLOW_ROLE
    if not caller.startswith("i-"):
        return None
    found = identity.role(caller)
    return str(found.name) if found else ""


def _user_id(caller: str) -> str | None:
    """The aws:userid of a caller that is an instance with a role; None for any other."""
    return identity.user_id(caller) if caller.startswith("i-") else None


def _signer(environ: WSGIEnvironment) -> tuple[str, str]:
    """Whose access key signed the request, and the service that it is for."""
    match = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    if match:
        return match[1], match[2]
    query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
    return query.get("X-Amz-Credential", "").split("/")[0], "s3"


def _s3_calls(caller: str, environ: WSGIEnvironment) -> list[Call]:
    """What a policy must allow for one request to S3, path style: of objects and listings."""
    path = environ["PATH_INFO"].strip("/")
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    method = environ["REQUEST_METHOD"]
    if "/" not in path:
        method = {"GET": "LIST", "HEAD": "LIST", "PUT": "CREATE"}.get(method, method)
    action = {
        "GET": "GetObject",
        "HEAD": "GetObject",
        "PUT": "PutObject",
        "POST": "DeleteObject" if "delete" in query else "PutObject",
        "DELETE": "AbortMultipartUpload" if "uploadId" in query else "DeleteObject",
        "LIST": "ListBucket" if path else "ListAllMyBuckets",
        "CREATE": "CreateBucket",
    }.get(method, method)
    calls = [Call(caller, f"s3:{action}", path)]
    if source := environ.get("HTTP_X_AMZ_COPY_SOURCE"):
        calls.append(Call(caller, "s3:GetObject", source.strip("/")))
    return calls


def _content(environ: WSGIEnvironment) -> bytes:
    """The request's body, which can be read again."""
    content = Request(environ).get_data()
    environ["wsgi.input"] = io.BytesIO(content)
    environ["CONTENT_LENGTH"] = str(len(content))
    return content


def _user_data(parameters: dict[str, Any]) -> bytes:
    return base64.b64decode(parameters.get("UserData", ""))


def _nested(form: dict[str, str]) -> dict[str, Any]:
    """``{"A.1.B": "c"}`` as ``{"A": [{"B": "c"}]}``, without what every call has."""
    tree: dict[str, Any] = {}
    for name, value in form.items():
        if name in ("Action", "Version"):
            continue
        *parents, last = name.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value

    def listed(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        values = {key: listed(value) for key, value in node.items()}
        if all(key.isdigit() for key in values):
            return [values[key] for key in sorted(values, key=int)]
        return values

    return {key: listed(value) for key, value in tree.items()}


def _error(code: str, message: str) -> Response:
    content = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
        f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        "</Error></Errors><RequestID>emulated</RequestID></Response>"
    )
    return Response(content, _STATUS.get(code, 400), mimetype="text/xml")


def _rest_error(code: str, message: str) -> Response:
    content = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Response(content, _STATUS.get(code, 400), mimetype="application/xml")


def _leave_out(hidden: set[str], answer: Response) -> Response:
    """The answer to DescribeInstances as if there were no ``hidden`` instances."""
    if not hidden:
        return answer
    root = ElementTree.fromstring(answer.get_data())  # ruff: ignore[suspicious-xml-element-tree-usage]
    for reservations in root.iterfind("{*}reservationSet"):
        for reservation in list(reservations):
            if reservation.findtext("{*}instancesSet/{*}item/{*}instanceId") in hidden:
                reservations.remove(reservation)
    answer.set_data(ElementTree.tostring(root))
    return answer


def _console_output(instance: str, printed: str) -> Response:
    kept = base64.b64encode(printed.encode()[-CONSOLE_LIMIT:]).decode()
    content = (
        '<GetConsoleOutputResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>emulated</requestId><instanceId>{instance}</instanceId>"
        f"<output>{kept}</output></GetConsoleOutputResponse>"
    )
    return Response(content, mimetype="text/xml")


def _json_error(code: str, message: str) -> Response:
    content = json.dumps({"__type": f"{code}Exception", "message": message})
    return Response(content, 400, mimetype="application/x-amz-json-1.1")
