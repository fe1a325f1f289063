from redun import task

redun_namespace = "hello"


@task()
def name_of(planet: int) -> str:
    return ["Mercury", "Venus", "Earth"][planet]


@task()
def greet(greeting: str, whom: str) -> str:
    return f"{greeting}, {whom}!"


@task()
def main(greeting: str = "Hail", planet: int = 2) -> str:
    return greet(greeting, name_of(planet))
