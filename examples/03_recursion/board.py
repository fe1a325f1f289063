"""The rules of chess, as far as they are needed."""


def attacks(placed: tuple[int, ...], column: int) -> bool:
    """Whether a queen in this column of the next row is attacked by one that stands already."""
    row = len(placed)
    return any(other == column or abs(other - column) == row - at for at, other in enumerate(placed))
