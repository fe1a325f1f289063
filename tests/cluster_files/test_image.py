"""The Dockerfile: what it copies is there, what it compiles is checked, and nobody in it is root."""

from __future__ import annotations

import fnmatch
import re
import shlex
import subprocess
import sys
import tomllib

import cluster_files
import pytest
from cluster_files import instructions
from projects import REPOSITORY

PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def of(name: str) -> list[str]:
    """The texts of all instructions with this name."""
    return [text for each, text in instructions() if each == name]


def test_it_has_only_instructions_that_docker_knows_in_an_order_that_works() -> None:
    names = [name for name, _ in instructions()]
    assert set(names) == {"ARG", "FROM", "ENV", "USER", "WORKDIR", "COPY", "RUN", "CMD"}
    start = names.index("FROM")
    above = {text.partition("=")[0] for _, text in instructions()[:start]}
    assert above == set(re.findall(r"\$\{(\w+)\}", of("FROM")[0]))
    below = {text.partition("=")[0] for name, text in instructions()[start:] if name == "ARG"}
    used = set(re.findall(r"\$\{(\w+)\}", " ".join(of("RUN") + of("COPY") + of("ENV"))))
    assert used <= below, "an ARG from above FROM is empty below it"


def test_nobody_in_the_image_is_root() -> None:
    names = [name for name, _ in instructions()]
    [user] = of("USER")
    number, _, group = user.partition(":")
    assert int(number) > 0 and int(group) > 0, "by number, so that Kubernetes can see it"
    assert names.index("USER") < names.index("COPY") < names.index("RUN")
    assert all(text.startswith(f"--chown={user} ") for text in of("COPY"))
    for name, spec in cluster_files.cluster_specs().items():
        for _, pod in cluster_files.pods(spec):
            own = pod["spec"]["securityContext"]
            assert (own["runAsUser"], own["fsGroup"]) == (int(number), int(group)), name


def copied() -> list[str]:
    """The paths of the checkout that the image gets."""
    return [word for text in of("COPY") for word in shlex.split(text)[1:-1]]


def ignored(path: str) -> bool:
    """Whether a path stays out of the build, by the patterns of the .dockerignore; the last one decides."""
    state = False
    for line in cluster_files.FILES["Dockerfile.dockerignore"].splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#"):
            parents = [path, *(path.rsplit("/", count)[0] for count in range(1, path.count("/") + 1))]
            if any(fnmatch.fnmatch(each, pattern.replace("**/", "*")) for each in parents):
                state = not line.startswith("!")
    return state


def test_what_the_build_of_the_package_needs_is_copied_and_nothing_else_is_sent() -> None:
    project = PYPROJECT["project"]
    needed = {"pyproject.toml", project["readme"], *project["license-files"]}
    needed |= set(PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert set(copied()) == needed
    for path in copied():
        assert (REPOSITORY / path).exists() and not ignored(path), path
    assert not ignored("rayflow/cli/main.py")
    for path in (".git/config", ".venv/bin/python", ".rayflow/catalog", "tests/conftest.py", "cluster/token", "token",
                 "rayflow/__pycache__/api.cpython-312.pyc", "data.csv"):  # fmt: skip
        assert ignored(path), path


def test_ray_is_pinned_pip_stays_and_all_is_compiled() -> None:
    [script] = of("RUN")
    assert '"ray[default]==${RAY_VERSION}" /home/ray/rayflow ${PACKAGES}' in script
    assert "--compile " in script and "compileall" in script
    assert "python -m pip --version" in script, "Ray needs pip for a runtime_env with packages"
    assert "PYTHONDONTWRITEBYTECODE" not in cluster_files.FILES["Dockerfile"]


@pytest.mark.slow
def test_the_shell_code_and_the_programs_of_the_build_work() -> None:
    [script] = of("RUN")
    assert subprocess.run(["bash", "-n", "-c", script]).returncode == 0
    programs = re.findall(r"python -c '([^']+)'", script)
    assert len(programs) == 2
    for program in programs:  # here Ray and rayflow are compiled, too
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
