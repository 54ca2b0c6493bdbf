"""Delivery of messages: to each channel by itself and in time, and later where that failed.

A message that a channel did not take is kept in the store. hhvm_reap_workers
delivers it when the channel is up again.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from hhvm_packaging.settings import Channel, Email
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import Scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hhvm_packaging.store.buckets import Store

log = logging.getLogger(__name__)

DEADLINE = 12.0
"""Seconds for all channels together, which get it at the same time; and again for keeping what they did not
take. Airflow kills a callback that takes 50 s."""
KEPT_DAYS = 7
"""A message that is older is not delivered: whoever looks at Airflow by then sees more than it says."""


class Message(BaseModel):
    """A message. A webhook gets these fields as JSON; other channels get subject and text."""

    model_config = ConfigDict(frozen=True)

    event: str
    subject: str
    text: str
    """It says everything that the other fields say."""
    dag_id: str
    run_id: str
    versions: list[str]
    tasks: list[str]
    """The ids of the tasks that failed or wait."""
    url: str
    """The page in Airflow to open."""
    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    """The same if the message is sent again."""


class Undelivered(BaseModel):
    """A message that a channel did not take."""

    model_config = ConfigDict(frozen=True)

    channel: Channel
    message: Message
    at: datetime
    """When it was to be delivered (UTC)."""
    reason: str

    @property
    def key(self) -> str:
        """Where it is kept, in scratch."""
        return keys.undelivered(
            hashlib.sha256(f"{self.message.id} {_name(self.channel)}".encode()).hexdigest()
        )

    def late(self) -> Message:
        """The message as it is delivered later."""
        why = f"This message is late: it is of {self.at:%Y-%m-%d %H:%M} UTC. Then: {self.reason}"
        return self.message.model_copy(update={"text": f"{why}\n\n{self.message.text}"})


Send: TypeAlias = "Callable[[Channel, Message], None]"
"""Sends a message. Raises an exception, whose text is the reason, if the channel does not take it."""


def deliver(
    send: Send,
    channels: Iterable[Channel],
    message: Message,
    open_store: Callable[[], Store],
    deadline: float = DEADLINE,
) -> None:
    """Deliver the message to every channel, and keep what they did not take.

    Never raises. Takes twice ``deadline`` at most.
    """
    now = datetime.now(UTC)
    failed = _send_all(send, dict.fromkeys(_split(channels), message), deadline)
    kept = [
        Undelivered(channel=channel, message=message, at=now, reason=why) for channel, why in failed.items()
    ]
    if not kept:
        return

    def keep(each: Undelivered) -> None:
        open_store().scratch.put_json(each.key, each.model_dump(mode="json"))

    not_kept = _run_all({each.channel: partial(keep, each) for each in kept}, deadline)
    for channel, why in not_kept.items():
        log.error("%r is not delivered by %s, and not kept: %s", message.subject, _name(channel), why)


def deliver_late(
    send: Send,
    channels: Iterable[Channel],
    store: Store,
    *,
    now: datetime | None = None,
    deadline: float = DEADLINE,
) -> list[str]:
    """Deliver what is kept, the oldest first. Returns what was done, or not, a line for each message.

    A channel that does not take one message is not asked for its others until the next time.
    """
    known, now = set(_split(channels)), now or datetime.now(UTC)
    waiting: dict[Channel, list[Undelivered]] = defaultdict(list)
    lines = []
    for kept in _read(store):
        if kept.channel not in known or now - kept.at > timedelta(days=KEPT_DAYS):
            store.scratch.delete(kept.key)
            lines.append(f"{_about(kept)} is not delivered: too old, or the setting notify has it no more")
        else:
            waiting[kept.channel].append(kept)
    while waiting:
        first = {channel: kept[0] for channel, kept in waiting.items()}
        failed = _send_all(send, {channel: kept.late() for channel, kept in first.items()}, deadline)
        for channel, kept in first.items():
            if channel in failed:
                lines.append(f"{_about(kept)} is not delivered yet: {failed[channel]}")
                del waiting[channel]
                continue
            store.scratch.delete(kept.key)
            lines.append(f"{_about(kept)} is delivered")
            waiting[channel].pop(0)
            if not waiting[channel]:
                del waiting[channel]
    return lines


def _read(store: Store) -> list[Undelivered]:
    """All messages that are kept, the oldest first. What cannot be read is named and stays."""
    found = []
    for key in list(store.scratch.keys(Scratch.UNDELIVERED.prefix())):
        content = store.scratch.get(key)
        if content is None:
            continue
        try:
            found.append(TypeAdapter(Undelivered).validate_json(content))
        except ValueError as error:
            log.error("s3://%s/%s is no message: %s", store.scratch.name, key, error)
    return sorted(found, key=lambda kept: (kept.at, kept.key))


def _split(channels: Iterable[Channel]) -> list[Channel]:
    """Each channel once, and one for each mail address: one that is refused keeps no other back."""
    found: list[Channel] = []
    for channel in channels:
        if isinstance(channel, Email):
            found += (channel.model_copy(update={"to": (address,)}) for address in channel.to)
        else:
            found.append(channel)
    return list(dict.fromkeys(found))


def _send_all(send: Send, messages: dict[Channel, Message], deadline: float) -> dict[Channel, str]:
    """Send all at the same time. Returns why those failed that did."""
    sends = {channel: partial(send, channel, message) for channel, message in messages.items()}
    failed = _run_all(sends, deadline)
    for channel, message in messages.items():
        if channel in failed:
            log.warning("Cannot deliver %r by %s: %s", message.subject, _name(channel), failed[channel])
        else:
            log.info("Delivered %r by %s", message.subject, _name(channel))
    return failed


def _run_all(functions: Mapping[Channel, Callable[[], None]], deadline: float) -> dict[Channel, str]:
    """Run all at the same time, and return the reasons of those that failed or did not end in time.

    A thread that hangs, for example while it resolves a name, cannot be ended. It is left behind, and ends
    with its process.
    """
    failed = dict.fromkeys(functions, f"no answer in {deadline:g} s")
    ended = threading.Semaphore(0)

    def run(channel: Channel, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:
            failed[channel] = str(error) or type(error).__name__
        else:
            del failed[channel]
        finally:
            ended.release()

    end = time.monotonic() + deadline
    for each in functions.items():
        threading.Thread(target=run, args=each, daemon=True).start()
    for _ in functions:
        ended.acquire(timeout=max(0.0, end - time.monotonic()))
    return dict(failed)


def _name(channel: Channel) -> str:
    """What a channel is called: it has no secret."""
    to = f" to {', '.join(channel.to)}" if isinstance(channel, Email) else ""
    path = f", path {channel.path}" if channel.kind == "webhook" and channel.path else ""
    return f"{channel.kind}{to}, connection {channel.connection}{path}"


def _about(kept: Undelivered) -> str:
    return f"{kept.message.subject!r} of {kept.at:%Y-%m-%d %H:%M} UTC, by {_name(kept.channel)},"
