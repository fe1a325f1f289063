"""The names by which hashes know what users import from rayflow: they stay, wherever the modules go."""

from __future__ import annotations

from typing import Any

import pytest

import rayflow
from rayflow.lang.code.object_names import outside_name
from rayflow.lang.terms.expressions import Form, Operation, Quoted, TaskCall

MODULES = {
    "api": "Scheduler history run",
    "client.async_client": "aconnect",
    "client.client": "connect",
    "deployments.deployment_tasks": "deployment_task",
    "lang.admission.settings": "debounce limit rate",
    "lang.awaiting": "gather",
    "lang.builtins": "apply_func as_task compose const fork_thread identity join_thread merge_handles "
    "no_prov subrun throw",
    "lang.combinators": "all_ and_ any_ apply_tags catch catch_all cond delay flat_map flatten force get_context len_ "
    "map_ not_ or_ quote seq starmap zip_",
    "errors": "NonRetriable",
    "lang.durable.effects": "RetryAfter effect",
    "lang.durable.flows": "event flow",
    "lang.durable.schedules": "cron every",
    "lang.durable.streams": "stream",
    "lang.durable.waits": "any_of ask child continue_as emit finally_ first join now sleep sleep_until spawn uuid "
    "wait_for_event within",
    "lang.events.event_values": "Event Firing RunRef",
    "lang.job_info": "JobInfo",
    "lang.parameters.kept": "Kept",
    "lang.rules": "Become Fail Failed Need form",
    "lang.scripts": "script",
    "lang.tasks": "Task task",
    "lang.wrapping": "wraps_task",
    "runtime.on_ray.gangs": "Gang get_gang",
    "values.custom": "Handler Value register_handler",
    "values.files": "ContentDir ContentFile ContentFileSet Dir File FileSet",
    "values.handles": "Handle",
    "values.secrets": "Secret",
}
"""Modules, as the first records call them: the public names in each."""

RECORDED = {name: f"rayflow.{module}" for module, names in MODULES.items() for name in names.split()}


def test_every_public_name_has_a_recorded_module() -> None:
    assert set(RECORDED) == set(rayflow.__all__)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_hash_knows_a_public_name_by_the_module_of_the_first_records(name: str) -> None:
    thing = getattr(rayflow, name)
    assert outside_name(thing.__module__, name) == f"outside {RECORDED[name]}:{name}".encode()


@pytest.mark.parametrize("of", [TaskCall, Operation, Form, Quoted])
def test_a_hash_knows_the_expressions_that_a_form_of_the_users_makes(of: Any) -> None:
    assert outside_name(of.__module__, of.__name__) == f"outside rayflow.lang.expressions:{of.__name__}".encode()
