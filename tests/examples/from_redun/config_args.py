from redun import task

redun_namespace = "config_args"


@task(config_args=["threads"])
def crunch(x: int, threads: int = 1) -> int:
    return x * 10


@task()
def main() -> list:
    return [crunch(1, threads=1), crunch(1, threads=8), crunch(2, threads=2)]
