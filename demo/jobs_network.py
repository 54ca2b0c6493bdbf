"""The network of the jobs' containers, and this machine's address on it."""

from __future__ import annotations


def gateway() -> str:
    """This machine's address as the jobs see it. Their network is made if it is missing.

    Raises docker.errors.DockerException.
    """
    from docker import APIClient

    from hhvm_packaging.settings import Settings
    from hhvm_packaging.workers.docker import ensure_network

    settings = Settings()
    network = ensure_network(APIClient(settings.docker_url, version="auto"), settings.docker_network)
    return str(network["IPAM"]["Config"][0]["Gateway"])
