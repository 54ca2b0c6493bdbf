"""What Debian 13 itself says of keys."""

from __future__ import annotations

import subprocess
import tomllib

import pytest

from hhvm_packaging.apt import key_policy


@pytest.mark.usefixtures("base_images")
def test_the_policy_is_the_one_that_apt_of_debian_13_has() -> None:
    read = ["docker", "run", "--rm", "debian:trixie", "cat", "/usr/share/apt/default-sequoia.config"]
    policy = subprocess.run(read, check=True, capture_output=True, text=True).stdout
    assert tomllib.loads(policy) == tomllib.loads(key_policy.render())
