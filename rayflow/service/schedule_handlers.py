"""What the API does for schedules: a method for each operation.

In: checked requests. Out: plain data. Never: decides; changes anything but through `ServiceSchedules`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from rayflow.service.api_table import Asked
from rayflow.service.schedules import ServiceSchedules, shown_answer
from rayflow.service.service import Service


class ScheduleHandlers:
    """The operations of schedules."""

    def __init__(self, service: Service) -> None:
        self._schedules = ServiceSchedules(service)

    async def schedules(self, asked: Asked) -> Any:
        return {"schedules": await asyncio.to_thread(self._schedules.listed)}

    async def schedule(self, asked: Asked) -> Any:
        limit = asked.query["limit"]
        return await asyncio.to_thread(self._schedules.described, asked.path["schedule"], limit=limit)

    async def next_moments(self, asked: Asked) -> Any:
        count = asked.query["count"]
        return {"next": await asyncio.to_thread(self._schedules.coming, asked.path["schedule"], count=count)}

    async def put_schedule(self, asked: Asked) -> Any:
        given = {name: asked.body[name] for name in ("arguments", "overlap", "catch_up")}
        flow, timetable = asked.body["flow"], asked.body["timetable"]
        return await self._asked(partial(self._schedules.put, asked.path["schedule"], flow, timetable, **given))

    async def delete_schedule(self, asked: Asked) -> Any:
        return await self._asked(partial(self._schedules.delete, asked.path["schedule"]))

    async def pause_schedule(self, asked: Asked) -> Any:
        return await self._asked(partial(self._schedules.pause, asked.path["schedule"], True))

    async def resume_schedule(self, asked: Asked) -> Any:
        return await self._asked(partial(self._schedules.pause, asked.path["schedule"], False))

    async def trigger_schedule(self, asked: Asked) -> Any:
        return await self._asked(partial(self._schedules.trigger, asked.path["schedule"], asked.body["moment"]))

    async def backfill_schedule(self, asked: Asked) -> Any:
        first, last = asked.body["first"], asked.body["last"]
        return await self._asked(partial(self._schedules.backfill, asked.path["schedule"], first, last))

    async def _asked(self, ask: Callable[[], Future[Any]]) -> Any:
        """The answer to a request that changes something."""
        return shown_answer(await asyncio.wrap_future(await asyncio.to_thread(ask)))
