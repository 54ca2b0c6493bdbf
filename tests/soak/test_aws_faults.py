"""A release meets AWS's faults, by seed: see testing/aws_release.py.

HHVM_TEST_SEED and HHVM_TEST_SEEDS choose other seeds; ``make soak-aws`` prints the table.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from testing import aws_release

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST, COUNT = int(os.environ.get("HHVM_TEST_SEED", "1")), int(os.environ.get("HHVM_TEST_SEEDS", "2"))

# A seed takes a minute or two. Only one that hangs takes an hour, however busy the machine is.
pytestmark = pytest.mark.timeout(3600)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_a_release_gets_out_and_leaves_nothing_whatever_aws_does(
    job_image: str, tmp_path: Path, record_property: Callable[[str, object], None], seed: int
) -> None:
    outcome = aws_release.play(tmp_path, seed)
    record_property(aws_release.HEADING, [seed, str(outcome)])
    assert outcome.wrong == []
