"""The lowest point of a curve by golden sections: what is measured next depends on what was measured before."""

from rayflow import gather, run, task

GOLDEN = (5**0.5 - 1) / 2


@task
def cost(x: float) -> float:
    """What one measurement says. In earnest this takes an hour and a GPU."""
    return round((x - 2.0) ** 2 + 1.0, 9)


@task
async def lowest(low: float, high: float, width: float = 0.5) -> dict[str, float]:
    """Narrow the interval down. While it waits for measurements, this body holds no worker."""
    steps = 0
    while high - low > width:
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        at_left, at_right = await gather(cost(left), cost(right))
        low, high = (low, right) if at_left < at_right else (left, high)
        steps += 1
    return {"x": round((low + high) / 2, 3), "steps": steps}


@task
async def main() -> dict[str, object]:
    """Two intervals at a time, and then the better of both."""
    near, far = await gather(lowest(0.0, 5.0), lowest(1.0, 9.0))
    try:
        best = await gather(cost(near["x"]))
    except ValueError:
        best = float("inf")
    return {"near": near, "far": far, "cost": best}


if __name__ == "__main__":
    print(run(main()))
