"""The client that `WorkflowDefinition.run` uses.

In: a client, or none. Out: the client of this process. Never: asks a service.
"""

from __future__ import annotations

from rayflow.compat.redflow.client import RedflowClient, create_client

_default: list[RedflowClient] = []


def get_default_client() -> RedflowClient:
    """The client that was set; else one for the project's store."""
    if not _default:
        _default.append(create_client())
    return _default[0]


def set_default_client(client: RedflowClient | None) -> None:
    """Use a client from now on; with None, one for the project's store."""
    _default[:] = [] if client is None else [client]
