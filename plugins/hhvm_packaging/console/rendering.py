"""How pages are made of templates. Everything in them is escaped."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from fastapi.responses import HTMLResponse

from hhvm_packaging.console import security
from hhvm_packaging.console.checks import describe_seconds
from hhvm_packaging.reporting.status import State

if TYPE_CHECKING:
    from fastapi import Request

    from hhvm_packaging.console.security import Visitor

HERE = Path(__file__).parent
SIGNS = {
    State.PUBLISHED: "✓",
    State.BUILT: "◆",
    State.HELD: "‖",
    State.BUILDING: "●",
    State.FAILED: "✗",
    State.WITHDRAWN: "↩",
    State.NOT_BUILT: "·",
}
"""A sign for each state: colours alone say nothing to who does not see them."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every page: it runs no script but ours, and is in no other site's frame."""


def describe_size(size: int) -> str:
    """A number of bytes for people, such as ``1.2 MB``."""
    sign, number = ("-" if size < 0 else ""), float(abs(size))
    for unit in ("B", "KB", "MB"):
        if number < 1000:
            return (
                f"{sign}{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{sign}{number:.1f} {unit}"
            )
        number /= 1000
    return f"{sign}{number:.1f} GB"


def describe_difference(size: int) -> str:
    """By how many bytes something has grown, such as ``+1.2 MB``."""
    return "same size" if size == 0 else ("+" if size > 0 else "") + describe_size(size)


def describe_age(at: datetime.datetime | int | None, now: datetime.datetime) -> str:
    """How long ago something was, for people, such as ``3 h ago``; ``at`` may be in seconds since 1970."""
    if at is None:
        return "never"
    when = datetime.datetime.fromtimestamp(at, datetime.UTC) if isinstance(at, int) else at
    seconds = int((now - when).total_seconds())
    if seconds < 45:
        return "just now"
    if seconds < 2 * 86400:
        return f"{describe_seconds(seconds)} ago"
    return f"{seconds // 86400} days ago"


def describe_time(at: datetime.datetime | None) -> str:
    """A time for people."""
    return f"{at.astimezone(datetime.UTC):%Y-%m-%d %H:%M} UTC" if at else ""


_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "size": describe_size,
    "difference": describe_difference,
    "age": describe_age,
    "time": describe_time,
    "seconds": describe_seconds,
}
_templates.globals |= {"State": State, "SIGNS": SIGNS}


def render(
    request: Request, template: str, visitor: Visitor | None, status_code: int = 200, **values: Any
) -> HTMLResponse:
    """A page, or a part of one."""
    content = _templates.get_template(template).render(
        # The path at which the console is mounted.
        base=request.scope.get("root_path", "").rstrip("/"),
        airflow=security.airflow_url(),
        visitor=visitor,
        **values,
    )
    return HTMLResponse(content, status_code)


_BADGE_COLOURS = {
    State.PUBLISHED: "#1a7f37",
    State.BUILT: "#1f6f8b",
    State.HELD: "#8a5a00",
    State.BUILDING: "#0b6e99",
    State.FAILED: "#b42318",
    State.WITHDRAWN: "#5b6b7c",
    State.NOT_BUILT: "#5b6b7c",
}
_LETTER = 7
"""Pixels that a letter of a badge takes."""


def render_badge(label: str, text: str, state: State) -> str:
    """A picture with a label and a state, as SVG."""
    left, right = _LETTER * len(label) + 12, _LETTER * len(text) + 12
    return _templates.get_template("badge.svg").render(
        label=label, text=text, left=left, right=right, colour=_BADGE_COLOURS[state]
    )
