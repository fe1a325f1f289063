from redun import task

redun_namespace = "limits"


@task(limits={"slots": 2})
def ask(x: int) -> int:
    return x * 2


@task(limits=["slots"])
def tell(x: int) -> int:
    return x * 3


@task()
def main() -> list:
    return [ask(i) for i in range(3)] + [tell(i) for i in range(3)]
