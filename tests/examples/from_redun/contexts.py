from redun import task
from redun.context import get_context

redun_namespace = "contexts"


@task()
def located(path: str, root: str = get_context("paths.root", "/none")) -> str:
    return f"{root}/{path}"


@task(memory=get_context("sizes.memory", 1))
def sized(x: int, scale: int = get_context("scale", 1)) -> int:
    return x * scale


@task()
def report() -> dict:
    return {"file": located("a.txt"), "sized": sized(2), "lost": get_context("lost", "default")}


@task()
def main() -> list:
    return [
        report(),
        report.update_context({"paths": {"root": "/data"}}, scale=10)(),
        sized.update_context(scale=3)(4),
    ]
