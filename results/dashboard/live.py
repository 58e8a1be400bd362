"""Server-sent events: what is new in a study, to every page that shows it.

One task looks at the revisions of all studies twice a second while anybody listens. A listener is sent what changed
since what it was sent last, so that a slow one skips over what it missed, and none needs a queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool

from results.dashboard import progress, views
from results.dashboard.answers import to_json
from results.dashboard.views import Studies
from results.store.connection import StoreError

POLL_S = 0.5
HEARTBEAT_S = 15.0
MOST_POINTS = 500  # of an event; more are fetched
RETRY_MS = 1000

log = logging.getLogger("pixelfront.dashboard")


@dataclass
class _Channel:
    """What the listeners of one study share: its revision, what wakes them, and the events made for one of them."""

    revision: int
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    made: dict[int | None, asyncio.Task[Any]] = field(default_factory=dict)
    listeners: int = 0


class Live:
    """Watches the studies that somebody listens to. For one event loop."""

    def __init__(self, studies: Studies) -> None:
        self._studies = studies
        self._channels: dict[int, _Channel] = {}
        self._watching: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many streams are open."""
        return sum(channel.listeners for channel in self._channels.values())

    def close(self) -> None:
        """Ends all streams; may be called from a signal handler or another thread."""
        self._closed = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake_all)

    async def stream(self, name: str, study_id: int, since: int | None) -> AsyncIterator[bytes]:
        """The study's events.

        Args:
            since: The revision that the listener has; None for that of now.
        """
        channel = await self._join(study_id)
        known, told = channel.revision if since is None else since, b""
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while not self._closed:
                woken, patience = channel.woken, HEARTBEAT_S
                try:
                    if channel.revision > known:
                        known, event = await self._made(channel, known, partial(self._changed, name, known))
                        yield event
                    moving = await self._made(channel, None, partial(self._moving, name))
                    if moving != told:
                        told = moving
                        yield moving
                except StoreError:  # which the watcher says
                    patience = POLL_S
                if not await _happened(woken, patience):
                    yield b": still here\n\n"
        finally:
            self._leave(study_id, channel)

    async def _join(self, study_id: int) -> _Channel:
        self._loop = asyncio.get_running_loop()
        if study_id not in self._channels:
            revision = await run_in_threadpool(self._studies.store.revision, study_id)
            self._channels.setdefault(study_id, _Channel(revision))
        channel = self._channels[study_id]
        channel.listeners += 1
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        return channel

    def _leave(self, study_id: int, channel: _Channel) -> None:
        channel.listeners -= 1
        if channel.listeners == 0:
            del self._channels[study_id]
        if not self._channels and self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self) -> None:
        away = False
        while True:
            await asyncio.sleep(POLL_S)
            try:
                revisions = await run_in_threadpool(self._studies.store.revisions)
            except StoreError as error:  # a server that restarts, a file that is locked
                if not away:
                    log.warning("%s Trying again until it answers.", error)
                away = True
                continue
            if away:
                log.warning("%s: it answers again", self._studies.store.place)
            away = False
            for study_id, channel in self._channels.items():
                if revisions.get(study_id, channel.revision) != channel.revision:
                    channel.revision = revisions[study_id]
                    channel.made.clear()
                    _wake(channel)

    def _wake_all(self) -> None:
        for channel in self._channels.values():
            _wake(channel)

    async def _made(self, channel: _Channel, key: int | None, make: Callable[[], Any]) -> Any:
        """What is made once, until the next change, for all listeners who need it."""
        if key not in channel.made:
            channel.made[key] = asyncio.create_task(run_in_threadpool(make))
        try:
            return await asyncio.shield(channel.made[key])
        except StoreError:
            channel.made.pop(key, None)  # to be tried again
            raise

    def _changed(self, name: str, since: int) -> tuple[int, bytes]:
        opened = self._studies.find(name)
        points = views.points(opened, since, views.FIELDS, most=MOST_POINTS)
        snapshot = opened.columns.snapshot()
        # The points' own revision, where a write came in between.
        revision = snapshot.revision if points is None else points["revision"]
        count = int((snapshot.changed > since).sum()) if points is None else points["count"]
        content = {"revision": revision, "state": opened.study.state, "changed": count, "points": points}
        return revision, _event("changed", content, revision)

    def _moving(self, name: str) -> bytes:
        return _event("progress", progress.moving(self._studies.find(name)))


def _wake(channel: _Channel) -> None:
    """Wakes those who wait now; later ones wait for the next time."""
    woken, channel.woken = channel.woken, asyncio.Event()
    woken.set()


async def _happened(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


def _event(name: str, content: Any, number: int | None = None) -> bytes:
    lines = [f"event: {name}".encode(), b"data: " + to_json(content)]
    if number is not None:
        lines.append(f"id: {number}".encode())
    return b"\n".join(lines) + b"\n\n"
