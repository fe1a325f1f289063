"""The dashboard of the cluster that a verb speaks with.

In: what `--address` gave, variables, the configuration. Out: a `JobApi`. Never: asks the cluster anything.
"""

from __future__ import annotations

import os

import click

from rayflow.errors import BadConfig
from rayflow.pasting import command
from rayflow.submission.job_api import JobApi, users_headers, users_token

VARIABLE = "RAY_API_SERVER_ADDRESS"
"""Ray's own variable for the address of a dashboard."""

address_option = click.option("--address", metavar="URL", help="The cluster's dashboard, http://HEAD:8265.")


def api_of(given: str | None, configured: str | None, *, verb: str) -> JobApi:
    """The job API at the address that was given, or that RAY_API_SERVER_ADDRESS or the configuration names.

    configured: the address in the configuration, which may be that of a control service (host:6379). Raises BadConfig.
    """
    address = given or os.environ.get(VARIABLE)
    if address is None and configured is not None and configured.startswith(("http://", "https://")):
        address = configured
    if address is None:
        host = configured.rpartition(":")[0] if configured and ":" in configured else "HEAD"
        also = f" ({configured} is configured, which is a cluster's control service.)" if configured else ""
        raise BadConfig(
            f"Name the dashboard of the cluster: {command(verb, '--address', f'http://{host}:8265')} ..., or set "
            f"{VARIABLE}.{also}"
        )
    return JobApi(address, users_token(), users_headers())
