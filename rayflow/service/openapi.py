"""The OpenAPI document of the API (3.1), from the table of its operations.

In: operations, schemas, the loaded flows. Out: the document as plain data. Never: written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rayflow.lang.arguments.json_schemas import input_schema
from rayflow.lang.tasks import Task
from rayflow.service.api_operations import OPERATIONS, PATH_PARTS
from rayflow.service.api_schemas import SCHEMAS
from rayflow.service.api_table import ApiField, ApiOperation
from rayflow.version import VERSION

_STATUSES = {
    "400": "the request does not fit",
    "401": "the token or the signature is missing or wrong",
    "404": "there is no such thing",
    "409": "it conflicts with what is recorded",
    "413": "its body is too large",
    "503": "the service cannot answer now: ask again",
}
"""The statuses of errors, and what they mean."""


def document(flows: Mapping[str, Task[..., Any]]) -> dict[str, Any]:
    """The OpenAPI document. flows: those that are loaded, by full name."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    inputs: dict[str, dict[str, Any]] = {}
    for flow, task in flows.items():
        name = _input_name(flow)
        inputs[name] = {"title": flow, **input_schema(task, f"#/components/schemas/{name}")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rayflow",
            "version": VERSION,
            "description": "Runs of one store: start them, ask for them, tell them what has happened. "
            "Moments are microseconds since the epoch.",
        },
        "paths": paths,
        "components": {
            "schemas": {**SCHEMAS, **inputs},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _input_name(flow: str) -> str:
    """The name of the schema of a flow's arguments."""
    return "input." + re.sub(r"[^A-Za-z0-9._-]", "_", flow)


def _operation(operation: ApiOperation) -> dict[str, Any]:
    parts = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    parameters: list[dict[str, Any]] = [
        {
            "name": part,
            "in": "path",
            "required": True,
            "description": PATH_PARTS[part],
            "schema": {"type": "string"},
        }
        for part in parts
    ]
    parameters += [_in_query(each) for each in operation.query]
    if operation.is_once:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "names the request: another one with this name is the same request",
                "schema": {"type": "string", "minLength": 1, "maxLength": 200},
            }
        )
    made: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "the answer", "content": _content(operation.answer)},
            **{
                status: {"description": meaning, "content": _content("Error")}
                for status, meaning in _STATUSES.items()
            },
        },
    }
    if operation.takes == "bytes":
        schema = {"schema": {"type": "string", "format": "binary"}}
        made["requestBody"] = {"required": True, "content": {"application/octet-stream": schema}}
    elif operation.body is not None:
        made["requestBody"] = {"content": {"application/json": {"schema": _body(operation.body)}}}
    if operation.access != "token":
        made["security"] = []
    return made


def _in_query(each: ApiField) -> dict[str, Any]:
    return {
        "name": each.name,
        "in": "query",
        "required": each.is_required,
        "description": each.meaning,
        "schema": each.schema(),
    }


def _body(fields: Sequence[ApiField]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "object",
        "properties": {each.name: {**each.schema(), "description": each.meaning} for each in fields},
        "additionalProperties": False,
    }
    required = [each.name for each in fields if each.is_required]
    return {**made, "required": required} if required else made


def _content(answer: str) -> dict[str, Any]:
    if "/" in answer:
        return {answer: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer}"}}}
