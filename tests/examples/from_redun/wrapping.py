from redun import task
from redun.task import wraps_task

redun_namespace = "wrapping"


def doubled():
    @wraps_task()
    def _doubled(inner):
        def wrapper(*args, **kwargs):
            return 2 * inner.func(*args, **kwargs)

        return wrapper

    return _doubled


def shifted(by: int):
    @wraps_task(wrapper_hash_includes=[by])
    def _shifted(inner):
        def wrapper(*args, **kwargs):
            return by + inner.func(*args, **kwargs)

        return wrapper

    return _shifted


@doubled()
@task()
def explicit(x: int) -> int:
    return x + 1


@doubled()
def implicit(x: int) -> int:
    return x + 1


@shifted(100)
@doubled()
def both(x: int, y: int = 0) -> int:
    return x + y


@task()
def main() -> list:
    return [explicit(1), implicit(2), both(3, y=1)]
