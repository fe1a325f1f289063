from redun import task
from redun.value import Value

redun_namespace = "values"


class Sequence(Value):
    type_name = "values.Sequence"

    def __init__(self, bases: str):
        self.bases = bases

    def __getstate__(self):
        return {"bases": self.bases.lower()}

    def __setstate__(self, state):
        self.bases = state["bases"]


@task()
def reverse(sequence: Sequence) -> Sequence:
    return Sequence(sequence.bases[::-1])


@task()
def main() -> int:
    return length(reverse(Sequence("ACGT")))


@task()
def length(sequence: Sequence) -> int:
    return len(sequence.bases)
