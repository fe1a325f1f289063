from redun import apply_tags, task

redun_namespace = "tags"


@task(tags=[("team", "blue"), ("stage", 2)])
def measured(x: int) -> int:
    return apply_tags(x * 2, [("unit", "cm")], job_tags=[("checked", True)], execution_tags=[("series", "a")])


@task()
def main() -> list:
    return [measured(1), measured.options(tags=[("extra", "yes")])(2)]
