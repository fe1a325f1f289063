from redun import namespace, task

namespace("flows.inner")


@task()
def train(data: list, rate: float) -> dict:
    return {"weights": [x * rate for x in data], "rate": rate}


@task()
def loss(model: dict) -> float:
    return round(sum(model["weights"]), 3)


@task()
def experiment(data: list, rate: float) -> float:
    return loss(train(data, rate))


@task()
def best(losses: dict) -> list:
    return sorted(losses, key=losses.get)


@task()
def main() -> list:
    data = [1.0, 2.0, 3.0]
    return best({str(rate): experiment(data, rate) for rate in (0.3, 0.1, 0.2)})
