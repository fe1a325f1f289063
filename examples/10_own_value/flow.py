"""Genes in a piece of DNA: a value type of our own, with its own identity, bytes and text."""

from dna import Dna

from rayflow import map_, run, task

SAMPLE = Dna("ccATGAAATTTTAGggTCATTGCATcc")
PAIRS = str.maketrans("ACGT", "TGCA")


@task
def reverse_complement(sequence: Dna) -> Dna:
    """The other strand, read in its own direction."""
    return Dna(sequence.bases.upper().translate(PAIRS)[::-1])


@task
def genes(strand: Dna) -> list[Dna]:
    """What stands between a start (ATG) and the next stop, in steps of three."""
    bases, found = strand.bases.upper(), []
    for start in range(len(bases) - 2):
        if bases[start : start + 3] == "ATG":
            codons = [bases[at : at + 3] for at in range(start, len(bases) - 2, 3)]
            stops = [place for place, codon in enumerate(codons) if codon in ("TAA", "TAG", "TGA")]
            if stops:
                found.append(Dna("".join(codons[: stops[0]])))
    return found


@task
def length(gene: Dna) -> int:
    return len(gene.bases)


@task
def main(sequence: Dna = SAMPLE) -> dict[str, list[int]]:
    """The lengths of the genes on both strands."""
    other = reverse_complement(sequence)
    return {"forward": map_(length, genes(sequence)), "backward": map_(length, genes(other))}


if __name__ == "__main__":
    print(run(main()))
