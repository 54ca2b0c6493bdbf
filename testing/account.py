"""The AWS account as ``deploy/aws`` has it: the stacks, deployed to moto, and what their roles may do.

The policies are in the templates alone. What reads them reads them here.
"""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hhvm_packaging.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hhvm_packaging.settings import JobKind

TEMPLATES = Path(__file__).resolve().parents[1] / "deploy/aws"
STACKS = ("storage", "key", "cdn", "workers", "roles", "watch", "host")
"""In the order in which they are deployed."""
ACCOUNT = "123456789012"  # moto's
REGION = "us-west-2"
AIRFLOW_ROLE = "hhvm-airflow"

_PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
}


def worker_role(kind: JobKind) -> str:
    """The role of the instances that do this kind of job. Their instance profile has the same name."""
    return Settings().ec2.instance_profile(kind)


@cache
def read(stack: str) -> dict[str, Any]:
    """The template of a stack, with the functions in their long form."""
    from cfnlint.decode import cfn_yaml

    template: dict[str, Any] = cfn_yaml.load(str(TEMPLATES / f"{stack}.yaml"))
    return template


def parameters(stack: str) -> dict[str, str]:
    """The defaults of the stack's parameters; those without one must be given."""
    declared = read(stack)["Parameters"]
    return {name: str(each["Default"]) for name, each in declared.items() if "Default" in each}


def resolve(node: Any, values: Mapping[str, str]) -> Any:
    """A part of a template with the values of its parameters in place of ``Ref`` and ``Fn::Sub``.

    Raises KeyError for what has no value, NotImplementedError for other functions.
    """
    match node:
        case {"Ref": name}:
            return values[name]
        case {"Fn::Sub": str(text)}:
            filled = re.sub(r"\$\{([^!}]+)\}", lambda found: values[found[1]], text)
            return re.sub(r"\$\{!([^}]+)\}", r"${\1}", filled)
        case dict() if any(key.startswith("Fn::") for key in node):
            raise NotImplementedError(", ".join(node))
        case dict():
            return {key: resolve(value, values) for key, value in node.items()}
        case list():
            return [resolve(each, values) for each in node]
    return node


@cache
def statements() -> dict[str, list[dict[str, Any]]]:
    """What each role of roles.yaml may do, by the role's name, with the defaults of the parameters."""
    values = _PSEUDO_PARAMETERS | parameters("roles")
    found: dict[str, list[dict[str, Any]]] = {}
    for resource in read("roles")["Resources"].values():
        if resource["Type"] == "AWS::IAM::Role":
            role = resource["Properties"]
            documents = [policy["PolicyDocument"] for policy in role["Policies"]]
            found[resolve(role["RoleName"], values)] = join(resolve(documents, values))
    return found


def join(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The statements of several policies of one role."""
    return [statement for document in documents for statement in document["Statement"]]


def deploy(cloudformation: Any, stack: str, **given: str) -> dict[str, str]:
    """Deploy a stack, as ``aws cloudformation deploy`` does. Returns its outputs by name."""
    name, template, values = f"hhvm-{stack}", copy.deepcopy(read(stack)), parameters(stack) | given
    # moto splits no list that is a default, and looks up an SSM parameter that is one even if one is given.
    for parameter in template["Parameters"].values():
        parameter.pop("Default", None)
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    [deployed] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    return {each["OutputKey"]: each["OutputValue"] for each in deployed.get("Outputs", ())}
