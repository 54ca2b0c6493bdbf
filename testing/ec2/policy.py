"""IAM's answer to a call: whether a role's policy allows it, and by which statement.

As much of the policy language as ``deploy/aws/roles.yaml`` uses; what it does not use raises an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from testing import account

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class Demand:
    """What one call needs: an action on a resource."""

    action: str
    resource: str
    """Its ARN."""
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict, compare=False)
    """The values of condition keys."""


class Policy:
    """What a role may do: the statements of its policies, by default those of the template."""

    def __init__(self, role: str, statements: list[dict[str, Any]] | None = None) -> None:
        self.role = role
        self.statements = account.statements()[role] if statements is None else statements
        for statement in self.statements:
            if unknown := set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition"}:
                raise NotImplementedError(f"{role}: {', '.join(sorted(unknown))}")
            if statement["Effect"] == "Deny" and "Condition" in statement:
                raise NotImplementedError(f"{role}: a Condition of a Deny")
        self.used: set[str] = set()
        """What the allowed demands needed of it, each as "SID: ACTION" or "SID: RESOURCE"."""

    def allows(self, demand: Demand) -> bool:
        """Whether some statement does, and none denies it; what that needed counts as used."""
        allowed = False
        for statement in self.statements:
            if statement["Effect"] == "Deny":
                if _action(statement, demand) and _resource(statement, demand):
                    return False
                continue
            action, resource = _action(statement, demand), _resource(statement, demand)
            if action and resource and _holds(statement.get("Condition", {}), demand.context):
                self.used |= {f"{statement['Sid']}: {action}", f"{statement['Sid']}: {resource}"}
                allowed = True
        return allowed

    def parts(self) -> set[str]:
        """All that could be used: what is denied is not."""
        return {
            f"{statement['Sid']}: {part}"
            for statement in self.statements
            if statement["Effect"] == "Allow"
            for key in ("Action", "Resource")
            for part in _list(statement[key])
        }


def _list(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _like(pattern: str, value: str, flags: int = 0) -> bool:
    """Whether a value is as a pattern with ``*`` and ``?`` says; either of them matches slashes too."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return bool(re.fullmatch(expression, value, flags | re.DOTALL))


def _action(statement: Mapping[str, Any], demand: Demand) -> str:
    """The first pattern of a statement that the action matches; empty if none does."""
    patterns = _list(statement["Action"])
    return next((pattern for pattern in patterns if _like(pattern, demand.action, re.IGNORECASE)), "")


def _resource(statement: Mapping[str, Any], demand: Demand) -> str:
    """The first pattern of a statement that the resource matches; empty if none does."""
    for pattern in _list(statement["Resource"]):
        filled = _fill_in(pattern, demand.context)
        if filled is not None and _like(filled, demand.resource):
            return pattern
    return ""


def _fill_in(pattern: str, context: Mapping[str, str | Sequence[str]]) -> str | None:
    """The pattern with the values of its variables; None if the call has no such value.

    See "Policy variables" in the IAM User Guide. A value here has no ``*`` or ``?``, which would be literal.
    """
    for variable in re.findall(r"\$\{([^}]*)\}", pattern):
        if variable != "aws:userid":
            raise NotImplementedError(f"the policy variable {variable}")
        if variable not in context:
            return None
        pattern = pattern.replace(f"${{{variable}}}", str(context[variable]))
    return pattern


_OPERATORS: dict[str, Callable[[Sequence[str], Sequence[str]], bool]] = {
    "StringEquals": lambda wanted, given: len(given) == 1 and given[0] in wanted,
    "NumericEquals": lambda wanted, given: len(given) == 1 and float(given[0]) in map(float, wanted),
    "ForAnyValue:StringEquals": lambda wanted, given: bool(set(wanted) & set(given)),
}


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str | Sequence[str]]) -> bool:
    return all(
        _OPERATORS[operator](_list(wanted), _list(context.get(key, ())))
        for operator, keys in condition.items()
        for key, wanted in keys.items()
    )
