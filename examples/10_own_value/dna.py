"""A value type of our own: a piece of DNA."""

from __future__ import annotations

from dataclasses import dataclass

from rayflow import Value

LETTERS = "ACGT"


@dataclass(frozen=True)
class Dna(Value):
    """Bases, in upper or lower case. Two pieces are equal when their bases are, whatever the case."""

    bases: str

    def __post_init__(self) -> None:
        wrong = set(self.bases.upper()) - set(LETTERS)
        if wrong:
            raise ValueError(f"{sorted(wrong)[0]!r} is no base; there are {', '.join(LETTERS)}")

    def identity(self) -> str:
        """What it is known by: the case, which says how sure the sequencer was, does not count."""
        return self.bases.upper()

    def encode(self) -> bytes:
        """Kept as two bits a base, behind the number of bases."""
        number = 0
        for base in self.bases.upper():
            number = number * 4 + LETTERS.index(base)
        return len(self.bases).to_bytes(4, "big") + number.to_bytes((len(self.bases) + 3) // 4, "big")

    @classmethod
    def decode(cls, data: bytes) -> Dna:
        length, number = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:], "big")
        return cls("".join(LETTERS[number >> 2 * place & 3] for place in reversed(range(length))))

    @classmethod
    def parse(cls, text: str) -> Dna:
        """`--sequence acgt` on the command line; a ValueError's text is the error that the user reads."""
        return cls(text.replace("-", ""))

    def preview(self) -> str:
        """What `rayflow log` shows."""
        return f"<Dna {self.bases[:6]}... {len(self.bases)} bases>"
