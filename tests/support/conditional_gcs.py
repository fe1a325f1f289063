"""Lets the emulator of Google's cloud storage heed `ifGenerationMatch=0`, as the real service does.

In: the modules of the emulator. Out: the same, refusing to write over an object with status 412 when
the request says so. Without this, the emulator writes over a file, whatever it is asked.
"""

from __future__ import annotations

import threading
from http import HTTPStatus
from typing import Any

import pytest

_writing = threading.Lock()


def heed_conditions(patch: pytest.MonkeyPatch, emulator: Any, objects: Any) -> None:
    """Let uploads in one request heed the condition that there is no object of their name.

    emulator: its module with the table of all handlers. objects: its module that handles objects.
    """

    def conditional(request: Any, response: Any, storage: Any, *rest: Any, **more: Any) -> None:
        if request.query.get("uploadType") != ["multipart"]:
            objects.insert(request, response, storage, *rest, **more)
            return
        name = request.query["name"][0] if "name" in request.query else request.data["meta"].get("name")
        with _writing:
            if request.query.get("ifGenerationMatch") == ["0"] and _has(objects, storage, request, name):
                response.status = HTTPStatus.PRECONDITION_FAILED
                response.json({"error": {"code": 412, "message": "conditionNotMet"}})
                return
            objects.insert(request, response, storage, *rest, **more)

    handlers = [
        (path, {method: conditional if each is objects.insert else each for method, each in of_path.items()})
        for path, of_path in emulator.HANDLERS
    ]
    patch.setattr(emulator, "HANDLERS", tuple(handlers))


def _has(objects: Any, storage: Any, request: Any, name: str) -> bool:
    try:
        storage.get_file_obj(request.params["bucket_name"], name)
    except objects.NotFound:
        return False
    return True
