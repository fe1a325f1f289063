"""A genome, samples that differ from it in known places, and what a sequencer would read of them."""

import gzip

import numpy as np

BASES = np.array(list("ACGT"))
LENGTH, SITES, READ, DEPTH, ERRORS = 20_000, 40, 100, 20, 0.002
MARGIN = 200  # near its ends a genome is read less often


def genome(seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(BASES, LENGTH))


def variants(sequence: str, seed: int) -> list[tuple[int, str, str]]:
    """Places where a sample differs: position (from 1), base of the genome, base of the sample."""
    chance = np.random.default_rng(seed)
    places = np.sort(chance.choice(np.arange(MARGIN, len(sequence) - MARGIN), SITES, replace=False))
    return [
        (int(at) + 1, sequence[at], str(chance.choice([base for base in BASES if base != sequence[at]])))
        for at in places
    ]


def reads(sequence: str, differs: list[tuple[int, str, str]], seed: int) -> bytes:
    """FASTQ, compressed: pieces of the sample from both strands, with errors."""
    chance = np.random.default_rng(seed)
    sample = np.array(list(sequence))
    for position, _, base in differs:
        sample[position - 1] = base
    lines = []
    for number, start in enumerate(chance.integers(0, len(sample) - READ, len(sample) * DEPTH // READ)):
        piece = sample[start : start + READ].copy()
        wrong = chance.random(READ) < ERRORS
        piece[wrong] = chance.choice(BASES, int(wrong.sum()))
        text = "".join(piece)
        if chance.random() < 0.5:
            text = text.translate(str.maketrans("ACGT", "TGCA"))[::-1]
        lines.append(f"@read{number}\n{text}\n+\n{'I' * READ}\n")
    return gzip.compress("".join(lines).encode(), mtime=0)
