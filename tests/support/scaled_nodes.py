"""A provider of nodes for Ray's autoscaler: each node is a `ray start --block` on this machine.

The head's autoscaler makes it (`provider: {type: external, module: scaled_nodes.StartedNodes}`), in its own process. A
node that ends by itself, since the machine was too slow for it, say, is one that the autoscaler starts anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

ONLY_HERE = {"use_node_id_as_ip": True, "disable_node_updaters": True}
"""Settings of the provider. Without the first, the autoscaler hears of no node that it lives, since all have one
address, and ends them again; with the second, it does not go to them by ssh."""

PATIENT = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "AUTOSCALER_HEARTBEAT_TIMEOUT_S": "600"}
"""The environment of a head: on a busy machine a node takes longer to start than the autoscaler usually waits."""

WORDS = (
    "start", "--block", "--node-ip-address=127.0.0.1", "--disable-usage-stats", "--object-store-memory=100000000",
    "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0",
)  # fmt: skip
"""What all nodes are started with, the head too: ports that the system chooses, since all are on one machine."""


NAMED = ("CPU", "GPU", "memory", "object_store_memory")
"""Resources that are no custom ones."""


def environment_of(node_id: str, node_type: str) -> dict[str, str]:
    """The environment of a node by which Ray gives it this id."""
    return {
        **os.environ, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": node_id, "RAY_CLOUD_INSTANCE_ID": node_id,
        "RAY_NODE_TYPE_NAME": node_type,
    }  # fmt: skip


def new_id() -> str:
    """A node's id, as Ray writes them."""
    return (uuid.uuid4().hex * 2)[:56]


def command(*more: str) -> list[str]:
    """The command that starts a node."""
    return [sys.executable, "-m", "ray.scripts.scripts", *WORDS, *more]


@dataclass(slots=True)
class _StartedNode:
    tags: dict[str, str]
    process: subprocess.Popen[bytes] | None

    def lives(self) -> bool:
        return self.process is None or self.process.poll() is None


class StartedNodes(NodeProvider):
    """The nodes of one cluster. Its settings have the head's id (`head`) and address (`gcs`), and the folder for
    what the nodes print (`logs`)."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        tags = {TAG_RAY_NODE_KIND: NODE_KIND_HEAD, TAG_RAY_USER_NODE_TYPE: "head"}
        self._nodes = {
            provider_config["head"]: _StartedNode({**tags, TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE}, None)
        }  # fmt: skip
        self._ending: list[_StartedNode] = []

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        return cluster_config

    def non_terminated_nodes(self, tag_filters: Mapping[str, str]) -> list[str]:
        self._ending = [node for node in self._ending if node.lives()]
        self._nodes = {node_id: node for node_id, node in self._nodes.items() if node.lives()}
        return [node_id for node_id, node in self._nodes.items() if tag_filters.items() <= node.tags.items()]

    def is_running(self, node_id: str) -> bool:
        return node_id in self._nodes

    def is_terminated(self, node_id: str) -> bool:
        return node_id not in self._nodes

    def node_tags(self, node_id: str) -> dict[str, str]:
        return self._nodes[node_id].tags

    def set_node_tags(self, node_id: str, tags: Mapping[str, str]) -> None:
        self._nodes[node_id].tags.update(tags)

    def internal_ip(self, node_id: str) -> str:
        return node_id

    def external_ip(self, node_id: str) -> str:
        return node_id

    def create_node_with_resources_and_labels(
        self,
        node_config: Mapping[str, Any],
        tags: Mapping[str, str],
        count: int,
        resources: Mapping[str, float],
        labels: Mapping[str, str],
    ) -> None:
        for _ in range(count):
            node_id, others = new_id(), {name: amount for name, amount in resources.items() if name not in NAMED}
            words = command(
                f"--address={self.provider_config['gcs']}", f"--num-cpus={int(resources.get('CPU', 0))}",
                f"--resources={json.dumps(others)}",
            )  # fmt: skip
            environment = environment_of(node_id, tags[TAG_RAY_USER_NODE_TYPE])
            with open(f"{self.provider_config['logs']}/{node_id}.log", "wb") as log:
                process = subprocess.Popen(
                    words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
            self._nodes[node_id] = _StartedNode(
                {**tags, TAG_RAY_NODE_KIND: NODE_KIND_WORKER, TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE}, process
            )

    def terminate_node(self, node_id: str) -> None:
        node = self._nodes.pop(node_id)
        if node.process is not None:
            node.process.terminate()
            self._ending.append(node)
