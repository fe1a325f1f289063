"""Hello, World: three tasks, one of which calls the other two."""

from rayflow import run, task


@task
def get_planet() -> str:
    return "World"


@task
def greeter(greet: str, thing: str) -> str:
    return f"{greet}, {thing}!"


@task
def main(greet: str = "Hello") -> str:
    return greeter(greet, get_planet())


if __name__ == "__main__":
    print(run(main()))
