"""Text where a page renders Markdown: it reads there as it is written.

Airflow renders the body of an approval with GitHub's Markdown, in which one tilde on each side strikes a text
through: ``1.0.0-1~bookworm, 1.0.0-1~trixie``. The specification is https://spec.commonmark.org/0.31.2/.
"""

from __future__ import annotations

import re
from string import punctuation

_PUNCTUATION = re.compile(f"[{re.escape(punctuation)}]")
_ESCAPED = re.compile(rf"\\([{re.escape(punctuation)}])")


def escape(text: str) -> str:
    """The text as one line of Markdown that shows it. Runs of white space become one space, as in HTML."""
    # Section 2.4: a backslash may stand before any ASCII punctuation, and nothing else means anything inline.
    return _PUNCTUATION.sub(r"\\\g<0>", " ".join(text.split()))


def unescape(markdown: str) -> str:
    """The text that was escaped, for where Markdown is not rendered."""
    return _ESCAPED.sub(r"\1", markdown)
