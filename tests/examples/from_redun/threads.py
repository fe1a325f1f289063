from redun import task
from redun.scheduler import fork_thread, join_thread

redun_namespace = "threads"


@task()
def background(x: int) -> int:
    return x * 100


@task()
def finish(thread) -> int:
    return join_thread(thread)


@task()
def main() -> list:
    return [finish(fork_thread(background(2))), join_thread(fork_thread(background(3)))]
