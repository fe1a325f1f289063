"""Lets the emulator of Google's cloud storage heed `ifGenerationMatch=0`, as the real service does.

In: the module of the emulator that writes objects. Out: the same, refusing to write over an object with status 412 when
the request says so. Without this, the emulator writes over a file, whatever it is asked.
"""

from __future__ import annotations

import threading
from http import HTTPStatus
from typing import Any

import pytest

_writing = threading.Lock()


def heed_conditions(patch: pytest.MonkeyPatch, objects: Any) -> None:
    """Let uploads in one request heed the condition that there is no object of their name."""
    upload = objects._multipart_upload

    def conditional(request: Any, response: Any, storage: Any) -> None:
        name = request.query["name"][0] if "name" in request.query else request.data["meta"].get("name")
        with _writing:
            if request.query.get("ifGenerationMatch") == ["0"] and _has(objects, storage, request, name):
                response.status = HTTPStatus.PRECONDITION_FAILED
                response.json({"error": {"code": 412, "message": "conditionNotMet"}})
                return
            upload(request, response, storage)

    patch.setattr(objects, "_multipart_upload", conditional)


def _has(objects: Any, storage: Any, request: Any, name: str) -> bool:
    try:
        storage.get_file_obj(request.params["bucket_name"], name)
    except objects.NotFound:
        return False
    return True
