"""What the pages read: the store, the index, the settings, Airflow as the visitor may see it."""

from __future__ import annotations

import datetime
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends

from hhvm_packaging.apt import signing
from hhvm_packaging.console.airflow import Airflow
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import plans, status_index
from hhvm_packaging.reporting import comparison, file_lists, status
from hhvm_packaging.reporting.status import Status
from hhvm_packaging.settings import settings
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hhvm_packaging.console.security import Visitor
    from hhvm_packaging.planning.manifests import PackageManifest
    from hhvm_packaging.planning.status_index import Index
    from hhvm_packaging.reporting.comparison import Comparison
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store


_MOST_COMPARED = 200
"""Comparisons that are kept: those of the versions that people look at."""


@dataclass(frozen=True)
class Facts:
    """What the head of the overview says."""

    last_publish: tuple[int, str] | None
    """When something was last published, in seconds since 1970, and which version."""
    canary: tuple[int, int] | None
    """When the canary last looked, in seconds since 1970, and how much it found wrong."""
    key_expires: datetime.datetime | None
    """When the first of the public keys expires; None if none does."""
    has_key: bool


@dataclass
class Deployment:
    """What the pages read."""

    store: Store
    settings: Settings
    api_url: str
    """Airflow's address for programs."""
    _index: tuple[str, Index] | None = None
    """The index that was read last, with its ETag."""
    _keys: tuple[str, dict[str, datetime.datetime | None]] | None = None
    """When the public keys expire, with the ETag of their file."""
    _compared: dict[tuple[str, str], Comparison] = field(default_factory=dict)
    """What was compared last, by the directories of both builds, which never change."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> datetime.datetime:
        """The time, in UTC."""
        return datetime.datetime.now(datetime.UTC)

    def index(self) -> Index:
        """The index. It is parsed again only if it has changed; if it is lost, it is rebuilt."""
        with self._lock:
            head = self.store.scratch.head(keys.STATUS)
            if head and self._index and self._index[0] == head.etag:
                return self._index[1]
            content, etag = self.store.scratch.get_with_etag(keys.STATUS)
            found = status_index.parse(content)
            if found is None or not found.complete:
                return status.rebuild_index(self.store, self.settings)
            self._index = ((etag or "").strip('"'), found)
            return found

    def compare(self, after: PackageManifest, before: PackageManifest | None) -> Comparison:
        """What ``after`` changes for users of ``before``.

        It is kept, because it takes requests for each package.
        """
        builds = after.directory, before.directory if before else ""
        with self._lock:
            if builds in self._compared:
                return self._compared[builds]
        found = comparison.compare(after, before, partial(file_lists.read, self.store))
        with self._lock:
            while len(self._compared) >= _MOST_COMPARED:
                del self._compared[next(iter(self._compared))]
            self._compared[builds] = found
        return found

    def key_expiries(self) -> dict[str, datetime.datetime | None]:
        """When the public keys expire, by fingerprint; empty if there is none that can be read."""
        head = self.store.downloads.head(keys.PUBLIC_KEY)
        if head is None:
            return {}
        if self._keys is None or self._keys[0] != head.etag:
            try:
                found = signing.find_expiries(self.store.downloads.get(keys.PUBLIC_KEY) or b"")
            except PackagingError:
                found = {}
            self._keys = (head.etag, found)
        return self._keys[1]

    def facts(self) -> Facts:
        """What the head of the overview says."""
        scratch = self.store.scratch
        published = [
            (scratch.get_json(key) or {}, key.rpartition("/")[2].removesuffix(".json"))
            for key in scratch.keys(keys.last_publishes())
        ]
        times = [(found["time"], str(found["version"])) for found, _ in published if "version" in found]
        verdict = scratch.get_json(keys.CANARY_VERDICT) or {}
        return Facts(
            last_publish=max(times, default=None),
            canary=(verdict["time"], verdict["findings"]) if verdict else None,
            key_expires=min((end for end in self.key_expiries().values() if end), default=None),
            has_key=bool(self.key_expiries()),
        )

    def distros(self) -> tuple[str, ...]:
        """The distributions that are built if nobody says which."""
        return tuple(plans.propose_distros(self.settings))

    def status(self, building: Mapping[str, frozenset[str]] | None = None) -> Status:
        """All versions. ``building`` is what is being built now."""
        return Status(self.index(), self.distros(), self.now(), self.settings.approvals, building or {})

    def airflow(self, visitor: Visitor) -> Airflow:
        """Airflow's public API with the visitor's own rights. Close it."""
        return Airflow(self.api_url, visitor.token)


_LIFETIME = 15 * 60
"""Seconds. The connection to the store may change."""
_made: list[tuple[float, Deployment]] = []
_making = threading.Lock()


def deployment() -> Deployment:
    """This deployment, whose clients are made once in a quarter of an hour: they take a tenth of a second."""
    from hhvm_packaging.orchestration import connections

    with _making:
        if not _made or time.monotonic() - _made[0][0] > _LIFETIME:
            _made[:] = [
                (time.monotonic(), Deployment(connections.store(), settings(), connections.api_url()))
            ]
        return _made[0][1]


Deployed = Annotated[Deployment, Depends(deployment)]
