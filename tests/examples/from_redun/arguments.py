from enum import Enum
from typing import List, Optional

from redun import File, task

redun_namespace = "arguments"


class Colour(Enum):
    red = 1
    blue = 2


@task()
def main(
    number: int,
    ratio: float = 0.5,
    names: List[str] = ["x"],
    colour: Colour = Colour.red,
    is_big: bool = False,
    note: Optional[str] = None,
    file: File = File("none.txt"),
) -> list:
    return [number, ratio, names, colour.name, is_big, note, file.path]
