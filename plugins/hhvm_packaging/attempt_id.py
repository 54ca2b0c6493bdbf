"""AttemptId: names one attempt at a job."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field

from hhvm_packaging.errors import PackagingError

_FORM = re.compile(r"(?P<began>[1-9][0-9]{7}T[0-9]{6}\.[0-9]{6}Z)(?:-(?P<number>[1-9][0-9]{0,8}))?", re.ASCII)
_BEGAN = "%Y%m%dT%H%M%S.%fZ"


class InvalidAttemptId(PackagingError):
    """A text that is not the id of an attempt. The message has the text and the expected form."""


@dataclass(frozen=True, order=True)
class AttemptId:
    """The id of one attempt at a job. Ids are ordered by the time at which the attempts began."""

    began: datetime.datetime
    """In UTC."""
    number: int = 1
    """Airflow's try number."""
    _has_number: bool = field(default=True, compare=False, repr=False)
    """False for ids from before attempts had a number: their text must stay as it is stored."""

    def __post_init__(self) -> None:
        if self.began.utcoffset() != datetime.timedelta(0):
            raise ValueError(f"began: {self.began!r} is not in UTC")
        if self.number < 1:
            raise ValueError(f"number: {self.number} is less than 1")

    @classmethod
    def new(cls, number: int = 1) -> AttemptId:
        """The id of an attempt that begins now; ``number`` is Airflow's try number."""
        return cls(datetime.datetime.now(datetime.UTC), number)

    @classmethod
    def parse(cls, text: str) -> AttemptId:
        """Read an id as ``str`` writes it, such as 20261128T072619.123456Z-1.

        An id without a number is of attempt 1. Raises InvalidAttemptId.
        """
        found = _FORM.fullmatch(text)
        try:
            began = datetime.datetime.strptime(found["began"] + "+0000", f"{_BEGAN}%z") if found else None
        except ValueError:
            began = None
        if found is None or began is None:
            raise InvalidAttemptId(
                f"{text!r} is not the id of an attempt; expected YYYYMMDDTHHMMSS.ffffffZ-NUMBER"
            )
        return cls(began, int(found["number"] or 1), found["number"] is not None)

    def __str__(self) -> str:
        began = self.began.strftime(_BEGAN)
        return f"{began}-{self.number}" if self._has_number else began
