"""No text changes how a page reads that renders it as Markdown."""

from __future__ import annotations

import re
from string import punctuation

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hhvm_packaging.reporting.markdown import escape, unescape

# GitHub's, as far as this parser knows it: it lacks the strike through between single tildes.
PARSER = MarkdownIt("commonmark").enable(["strikethrough", "table"])
PIECES = st.sampled_from([
    *punctuation,
    *"a 1\n\t",
    *(
        "~~",
        "**",
        "```",
        "<b>",
        "&amp;",
        "[x](y)",
        "![",
        "# ",
        "1. ",
        "- ",
        "---",
        "| a |",
        "    ",
        "\\",
        "<!--",
    ),
    *("https://example.org", "www.example.org", ":smile:", "é", "世"),
])
TEXTS = st.one_of(st.text(), st.lists(PIECES).map("".join))
VERSIONS = "HHVM 1.0.1: debian-12-bookworm 1.0.1-1~bookworm, debian-13-trixie 1.0.1-1~trixie"


def shown(markdown: str) -> str:
    """What a page shows of Markdown that has nothing but text in paragraphs or list items."""
    words = []
    for token in PARSER.parse(markdown):
        kinds = {child.type for child in token.children or []}
        assert kinds <= {"text", "text_special"}, (markdown, kinds)
        if token.type == "inline":
            words += [child.content for child in token.children or []]
    return "".join(words)


@given(TEXTS)
@example(VERSIONS)
def test_any_text_is_shown_as_it_is(text: str) -> None:
    # The parser replaces what is no character.
    assert shown(escape(text)) == " ".join(text.split()).replace("\0", "\ufffd")


@given(TEXTS)
def test_any_text_is_one_item_of_a_list(text: str) -> None:
    tokens = [token.type for token in PARSER.parse(f"- {escape(text)}")]
    assert tokens.count("list_item_open") == 1
    assert set(tokens) <= {
        *("bullet_list_open", "list_item_open", "paragraph_open", "inline"),
        *("paragraph_close", "list_item_close", "bullet_list_close"),
    }


@given(TEXTS)
def test_no_punctuation_is_left_that_any_dialect_of_markdown_gives_a_meaning(text: str) -> None:
    left = re.sub(r"\\.", "", escape(text))
    assert not set(left) & set(punctuation)


@given(TEXTS)
def test_what_was_escaped_can_be_read_as_plain_text_again(text: str) -> None:
    assert unescape(escape(text)) == " ".join(text.split())


def test_without_it_the_page_would_read_differently() -> None:
    """A test of the tests."""
    with pytest.raises(AssertionError):
        shown("~~1.0.1~~")
