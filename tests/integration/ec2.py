"""EC2 as the tests have it: fresh for each test, with hours that last a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ec2 import EC2, emulated_ec2

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ec2(base_images: None) -> Iterator[EC2]:
    """An EC2 whose instances run; nothing is left of them."""
    with emulated_ec2(seconds_per_minute=1) as ec2:
        yield ec2
