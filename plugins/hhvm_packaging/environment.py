"""Settings as environment variables: how they are read, and what is said about those that cannot be used.

A variable with the settings' prefix that names no setting is refused, and never ignored: it is a setting that
somebody relies on.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel
from pydantic_settings import EnvSettingsSource

from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

PREFIX = "HHVM_PACKAGING_"
NESTED = "__"


class InvalidSettings(PackagingError):
    """Settings cannot be used. The message names each by its environment variable, and says what is wrong."""


class Environment(EnvSettingsSource):
    """The settings in the environment, and all other variables with their prefix.

    What is not JSON although it has to be is left as it is, for the type of the setting to refuse.
    """

    def __call__(self) -> dict[str, Any]:
        """The values by the names of the fields. A name that is no field is refused by ``extra='forbid'``."""
        found = super().__call__()
        for name, value in self.env_vars.items():
            field, *nested = name.removeprefix(PREFIX.lower()).split(NESTED)
            if name.startswith(PREFIX.lower()) and not self._is_setting(field, nested):
                found[NESTED.join([field, *nested])] = value
        return found

    def _is_setting(self, field: str, nested: list[str]) -> bool:
        known = self.settings_cls.model_fields.get(field)
        return known is not None and (not nested or self._field_is_complex(known)[0])

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """The value of JSON; the text itself if it is none."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def refuse_doubles(environment: Mapping[str, str]) -> None:
    """Raise InvalidSettings if two variables differ only in case: it is not defined which one counts."""
    spelled: dict[str, list[str]] = {}
    for name in sorted(environment):
        if name.upper().startswith(PREFIX):
            spelled.setdefault(name.upper(), []).append(name)
    if doubles := [names for names in spelled.values() if len(names) > 1]:
        raise InvalidSettings(_list(f"{' and '.join(names)} are the same setting" for names in doubles))


def explain(error: ValidationError, model: type[BaseModel]) -> InvalidSettings:
    """What is wrong with the settings of ``model``, in words."""
    return InvalidSettings(_list(_explain(each, model) for each in error.errors(include_url=False)))


def _list(lines: Iterable[str]) -> str:
    return "\n".join([
        "The settings cannot be used; plugins/hhvm_packaging/settings.py explains each:",
        *(f"- {line}" for line in lines),
    ])


def _explain(error: ErrorDetails, model: type[BaseModel]) -> str:
    reason = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return reason
    name = _variable(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return f"{name} is no setting.{_nearest(name, model)}"
        case "list_type" | "dict_type" | "model_type" if isinstance(error["input"], str):
            return f"{name}: {reason} as JSON, such as {_EXAMPLES[error['type']]}"
        case _:
            return f"{name}: {reason}{_given(error)}"


_EXAMPLES = {
    "list_type": '["one", "two"]',
    "dict_type": '{"name": "value"}',
    "model_type": '{"name": "value"}',
}


def _variable(loc: tuple[int | str, ...]) -> str:
    """The variable of a setting, and which item of its value."""
    names = [str(part) for part in loc]
    if names[-1] == "[key]":  # What pydantic adds if a key of a dict is refused.
        loc, names = loc[:-2], names[:-2]
    inner = next((at for at, part in enumerate(loc) if isinstance(part, int)), len(loc))
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc[inner:])
    return f"{PREFIX}{NESTED.join(names[:inner]).upper()}{path}"


def _given(error: ErrorDetails) -> str:
    """The value that is refused, unless it may be part of what is secret."""
    given = error["input"]
    short = isinstance(given, str | int | float) and error["loc"][0] != "notify"
    return f" (it is {given!r})" if short and repr(given) not in error["msg"] else ""


def _nearest(name: str, model: type[BaseModel]) -> str:
    """What the person may have meant."""
    wanted, known = name.removeprefix(PREFIX), list(_names(model, ""))
    if nearest := difflib.get_close_matches(wanted, known, n=1, cutoff=0.7):
        return f" Did you mean {PREFIX}{nearest[0]}?"
    return ""


def _names(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """The variables of all fields, and of the fields of those that are models."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name.upper()}"
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _names(kind, f"{prefix}{name.upper()}{NESTED}")


def refuse_in_extra(conn_id: str, extra: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Raise InvalidSettings if an extra field of a connection is a setting: nothing reads it there."""
    fields = {name: name.upper().removeprefix(PREFIX).lower() for name in extra}
    if meant := [name for name, field in fields.items() if field in model.model_fields]:
        raise InvalidSettings(
            f"The connection {conn_id} has the extra field {', '.join(meant)}, which a connection has not. "
            f"It is a setting: {', '.join(f'{PREFIX}{fields[name].upper()}' for name in meant)}"
        )
