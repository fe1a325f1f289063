"""Measurements in more than one laboratory: values that many calls need and nobody wants to hand through."""

from rayflow import get_context, run, task

SENSORS = {"door": 12.0, "roof": 8.0}


@task
def measure(sensor: str, gain: float = get_context("lab.gain", 1.0)) -> float:
    """What a sensor says, by the gain of the laboratory."""
    return SENSORS[sensor] * gain


@task
def headline() -> str:
    return title(get_context("lab.name"))


@task
def title(name: str) -> str:
    return f"Laboratory {name}"


@task
def total(values: list[float]) -> float:
    return sum(values)


@task
def report() -> dict[str, object]:
    """One laboratory. Neither this task nor its caller says which: the context does."""
    return {"title": headline(), "total": total([measure(sensor) for sensor in sorted(SENSORS)])}


@task
def main() -> list[dict[str, object]]:
    """The laboratory of the configuration, and the same with another gain."""
    return [report(), report.update_context({"lab": {"gain": 10.0}})()]


if __name__ == "__main__":
    for each in run(main()):
        print(each)
