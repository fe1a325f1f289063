from redun import task
from redun.scheduler import JobInfo
from redun.task import CacheCheckValid, CacheScope

redun_namespace = "options"


@task(memory=1, vcpus=1, limits=["db"])
def sized(x: int) -> int:
    return x + 1


@task(cache_scope=CacheScope.CSE, check_valid=CacheCheckValid.SHALLOW)
def scoped(x: int) -> int:
    return x + 2


@task(version="1", cache=False, name="renamed", namespace="elsewhere")
def named(x: int) -> int:
    return x + 3


@task()
def knows(info: JobInfo = JobInfo()) -> list:
    return [bool(info.job_id), bool(info.execution_id), bool(info.eval_hash)]


@task()
def main() -> list:
    return [
        sized.options(memory=2)(1),
        scoped(1),
        named(1),
        named.fullname,
        knows(),
        sized.options(cache=False).options(vcpus=1)(10),
    ]
