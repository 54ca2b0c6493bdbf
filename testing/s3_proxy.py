"""A proxy before an S3 server: it counts what passes, delays it, and can stop everything after a write."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Callable, Generator

    from mypy_boto3_s3 import S3Client

WRITES = ("PUT", "COPY", "POST", "DELETE")


@dataclass
class Traffic:
    """What passed, and when. Bytes are all of HTTP's: lines, headers and bodies."""

    requests: Counter[str] = field(default_factory=Counter)
    """By kind: GET, HEAD, LIST, PUT, COPY, POST, DELETE; BUCKET for what concerns a bucket only."""
    log: list[str] = field(default_factory=list)
    """Kind and path of each request, in the order in which they came."""
    up: int = 0
    down: int = 0
    first: float | None = None
    """When the first request came, by time.monotonic()."""
    last: float = 0
    """When the last answer went."""

    @property
    def writes(self) -> int:
        """How many of the requests write."""
        return sum(self.requests[kind] for kind in WRITES)

    @property
    def seconds(self) -> float:
        """From the first request to the last answer."""
        return self.last - self.first if self.first is not None else 0


@dataclass(frozen=True)
class _Head:
    first_line: str
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, content: bytes) -> _Head:
        first, *lines = content.decode("latin-1").rstrip("\r\n").split("\r\n")
        pairs = [line.partition(":")[::2] for line in lines]
        return cls(first, tuple((name, value.strip()) for name, value in pairs))

    def get(self, wanted: str) -> str:
        return next((value for name, value in self.headers if name.lower() == wanted), "")

    def without(self, unwanted: str) -> bytes:
        lines = [f"{name}: {value}" for name, value in self.headers if name.lower() != unwanted]
        return "\r\n".join([self.first_line, *lines, "", ""]).encode("latin-1")

    def kind(self) -> tuple[str, str]:
        """Which request this is in S3's words, and its path."""
        method, target, _ = self.first_line.split(" ")
        url = urlsplit(target)
        in_bucket = "/" in url.path.strip("/")
        query = parse_qs(url.query, keep_blank_values=True)
        if method == "PUT" and self.get("x-amz-copy-source"):
            method = "COPY"
        elif method == "GET" and not in_bucket:
            method = "BUCKET" if "location" in query or not url.path.strip("/") else "LIST"
        elif not in_bucket and method != "POST":
            method = "BUCKET"
        return method, url.path


class Proxy:
    """Passes requests to the server at ``upstream``.

    With ``one_write_at_a_time`` a write waits until the one before it was answered: that is what makes
    "after the n-th write" mean something when a client sends them in parallel. If the server ignores the
    conditions of writes, give a client of it, ``looking``: then the proxy checks them as S3 does.
    """

    def __init__(
        self, upstream: str, *, one_write_at_a_time: bool = False, looking: S3Client | None = None
    ) -> None:
        url = urlsplit(upstream)
        self._host, self._port = url.hostname or "", url.port or 80
        self._one_at_a_time = one_write_at_a_time
        self._looking = looking
        self.latency = 0.0
        """Seconds by which each request is late."""
        self.traffic = Traffic()
        self.endpoint = ""
        self._end_after: tuple[int, Callable[[], object]] | None = None
        self._ended = False

    def reset(self) -> None:
        """Count from the beginning, and let requests pass again."""
        self.traffic = Traffic()
        self._end_after, self._ended = None, False

    def end_after(self, writes: int, kill: Callable[[], object]) -> None:
        """After that many writes call ``kill``, answer nobody and let nothing pass."""
        self._end_after = writes, kill

    @contextlib.contextmanager
    def running(self) -> Generator[Proxy]:
        """Serve in a thread, at ``endpoint``, for as long as the ``with`` statement takes."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        async def start() -> asyncio.Server:
            self._lock = asyncio.Lock()
            return await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)

        async def stop() -> None:
            server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        server = asyncio.run_coroutine_threadsafe(start(), loop).result()
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection of a client, with one of its own to the server."""
        upstream: StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection(self._host, self._port, limit=1 << 20)
            while await self._pass(reader, writer, answers, upstream):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # Either side may go whenever it likes.
        finally:
            writer.close()
            if upstream:
                upstream.close()

    async def _pass(
        self, reader: StreamReader, writer: StreamWriter, answers: StreamReader, upstream: StreamWriter
    ) -> bool:
        """One request and its answer; whether another may follow."""
        head = _Head.parse(await reader.readuntil(b"\r\n\r\n"))
        kind, path = head.kind()
        traffic = self.traffic
        traffic.first = traffic.first or time.monotonic()
        if head.get("expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = head.without("expect") + await _body(reader, head)
        await asyncio.sleep(self.latency)

        write = kind in WRITES
        async with self._lock if write and self._one_at_a_time else contextlib.nullcontext():
            if self._ended:
                return False
            traffic.requests[kind] += 1
            traffic.log.append(f"{kind} {path}")
            if write and (refusal := await self._refusal(head, path)):
                answer, content = _Head.parse(refusal.encode()), refusal.encode()
            else:
                upstream.write(request)
                answer = _Head.parse(await answers.readuntil(b"\r\n\r\n"))
                status = answer.first_line.split(" ")[1]
                content = answer.without("")
                if not (head.first_line.startswith("HEAD ") or status in ("204", "304")):
                    content += await _body(answers, answer, until_end=True)
            if write and self._end_after and traffic.writes == self._end_after[0]:
                self._ended = True
                self._end_after[1]()
                return False
        traffic.up += len(request)
        traffic.down += len(content)
        traffic.last = time.monotonic()
        writer.write(content)
        await writer.drain()
        return "close" not in (head.get("connection"), answer.get("connection"))

    async def _refusal(self, head: _Head, path: str) -> str | None:
        """The whole answer to a write whose condition does not hold; None for any other write."""
        if self._looking is None or not (head.get("if-match") or head.get("if-none-match")):
            return None
        bucket, _, key = unquote(path).strip("/").partition("/")
        try:
            there = await asyncio.to_thread(self._looking.head_object, Bucket=bucket, Key=key)
            etag = there["ETag"]
        except self._looking.exceptions.ClientError:
            etag = ""
        if etag == head.get("if-match"):
            return None
        status = "412 Precondition Failed" if etag else "404 Not Found"
        return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"


async def _body(reader: StreamReader, head: _Head, *, until_end: bool = False) -> bytes:
    """What follows the headers, as it was sent."""
    if "chunked" in head.get("transfer-encoding"):
        content = bytearray()
        while True:
            line = await reader.readuntil(b"\r\n")
            content += line
            size = int(line.split(b";")[0], 16)
            if not size:
                break
            content += await reader.readexactly(size + 2)
        while line != b"\r\n":  # trailers, then an empty line
            line = await reader.readuntil(b"\r\n")
            content += line
        return bytes(content)
    if length := head.get("content-length"):
        return await reader.readexactly(int(length))
    return await reader.read() if until_end else b""
