"""The Docker socket of one instance: a way to the host's engine that nothing gets past.

Whatever is created through it, by user data or by a container that was given the socket in turn, carries
the instance's label. A path that a container is to share is the instance's own, so it is translated to
where the engine has it.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from pathlib import Path

INSTANCE_LABEL = "hhvm.ec2.instance"

_CREATE = re.compile(r"POST (?:/v[\d.]+)?/(containers|networks|volumes)/create\b")
_BUILD = re.compile(r"POST (?:/v[\d.]+)?/build\?")


class NotShared(Exception):
    """A container is to share a path that the instance cannot share."""


class SocketProxy:
    """Listens at ``path`` for ``instance``, and passes on to the engine's socket at ``engine``.

    Containers that name no cgroup are in ``cgroup``.
    """

    def __init__(self, instance: str, path: Path, engine: str, cgroup: str | None) -> None:
        self.path = path
        self.shared: dict[str, str] = {}
        """Where the engine has each path that the instance can share."""
        self._instance = instance
        self._engine = engine
        self._cgroup = cgroup
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._creating: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._connected, self.path, limit=1 << 20)

    async def close(self) -> None:
        """Pass nothing more. What was being created is created, with its label, when this returns."""
        if self._server:
            self._server.close()
        self.path.unlink(missing_ok=True)
        for task in self._connections - self._creating:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task, "a connection is served by a task"
        self._connections.add(task)
        try:
            await self._serve(reader, writer, task)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # Either side may go whenever it likes.
        finally:
            self._connections.discard(task)
            self._creating.discard(task)
            writer.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter, task: asyncio.Task[None]) -> None:
        """One request: the connection is closed after it, so that every request is looked at."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        content = b""
        if create := _CREATE.match(head):
            self._creating.add(task)
            try:
                content = await self._labelled(create[1], head, reader)
            except NotShared as error:
                writer.write(_refusal(str(error)))
                return
            head = _with_header(head, "Content-Length", str(len(content)))
        elif _BUILD.match(head):
            # A build that is broken off leaves no container either.
            head = head.replace("?", "?forcerm=1&", 1)
        if "\r\nupgrade:" not in head.lower():
            head = _with_header(head, "Connection", "close")
        answers, upstream = await asyncio.open_unix_connection(self._engine)
        try:
            upstream.write(head.encode("latin-1") + content)
            await _pass_both_ways(reader, writer, answers, upstream)
        finally:
            upstream.close()

    async def _labelled(self, kind: str, head: str, reader: StreamReader) -> bytes:
        """What a request to create something says, with the label and the engine's paths."""
        length = re.search(r"\r\ncontent-length: *(\d+)\r\n", head, re.IGNORECASE)
        if not length:
            raise NotShared("what is to be created must come with its length")
        wanted: dict[str, Any] = json.loads(await reader.readexactly(int(length[1])))
        wanted["Labels"] = {**(wanted.get("Labels") or {}), INSTANCE_LABEL: self._instance}
        if kind == "containers":
            host = wanted.setdefault("HostConfig", {})
            host["CgroupParent"] = host.get("CgroupParent") or self._cgroup or ""
            host["Binds"] = [self._bind(bind) for bind in host.get("Binds") or ()]
            for mount in host.get("Mounts") or ():
                if mount["Type"] == "bind":
                    mount["Source"] = self._on_host(mount["Source"])
        return json.dumps(wanted).encode()

    def _bind(self, bind: str) -> str:
        source, colon, rest = bind.partition(":")
        return f"{self._on_host(source)}{colon}{rest}" if source.startswith("/") else bind

    def _on_host(self, path: str) -> str:
        path = path.replace("/var/run/", "/run/", 1)
        for directory, place in self.shared.items():
            if path == directory or path.startswith(f"{directory}/"):
                return place + path.removeprefix(directory)
        raise NotShared(f"an emulated instance can share {', '.join(sorted(self.shared))} only, not {path}")


def _with_header(head: str, name: str, value: str) -> str:
    lines = head.removesuffix("\r\n\r\n").split("\r\n")
    kept = [line for line in lines if not line.lower().startswith(f"{name.lower()}:")]
    return "\r\n".join([*kept, f"{name}: {value}", "", ""])


def _refusal(message: str) -> bytes:
    content = json.dumps({"message": message}).encode()
    head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + content


async def _pass_both_ways(
    reader: StreamReader, writer: StreamWriter, answers: StreamReader, upstream: StreamWriter
) -> None:
    """Until the engine has said all."""
    sending = asyncio.create_task(_pass(reader, upstream))
    try:
        await _pass(answers, writer)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _pass(source: StreamReader, target: StreamWriter) -> None:
    while content := await source.read(1 << 16):
        target.write(content)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
