"""Mapping and calling in Python: minimap2 by mappy, BAM files by pysam. Paths in, paths out."""

import mappy
import numpy as np
import pysam

LEAST_DEPTH = 6
LEAST_SHARE = 0.8


def align(reference: str, reads: str, bam: str) -> None:
    """Map reads to a genome: a sorted BAM file, and its index beside it."""
    aligner = mappy.Aligner(reference, preset="sr")
    header = pysam.AlignmentHeader.from_references(aligner.seq_names, [len(aligner.seq(n)) for n in aligner.seq_names])
    with pysam.AlignmentFile(f"{bam}.unsorted", "wb", header=header) as out:
        for name, sequence, quality in mappy.fastx_read(reads):
            for hit in aligner.map(sequence):
                if hit.is_primary:
                    out.write(_segment(header, name, sequence, quality, hit))
    pysam.sort("-o", bam, f"{bam}.unsorted")
    pysam.index(bam)


def _segment(header, name, sequence, quality, hit) -> pysam.AlignedSegment:
    clipped = [(4, hit.q_st), (4, len(sequence) - hit.q_en)]  # 4: not aligned, at the read's ends
    segment = pysam.AlignedSegment(header)
    segment.query_name = name
    segment.query_sequence = sequence if hit.strand > 0 else mappy.revcomp(sequence)
    segment.query_qualities = pysam.qualitystring_to_array(quality)
    segment.reference_name, segment.reference_start, segment.mapping_quality = hit.ctg, hit.r_st, hit.mapq
    segment.is_reverse = hit.strand < 0
    left, right = clipped if hit.strand > 0 else reversed(clipped)
    segment.cigartuples = [each for each in (left, *((op, length) for length, op in hit.cigar), right) if each[1]]
    return segment


def call(reference: str, bam: str, vcf: str) -> None:
    """Where most reads agree on another base than the genome's: a VCF file."""
    with pysam.FastxFile(reference) as genomes, pysam.AlignmentFile(bam) as reads, open(vcf, "w") as out:
        out.write("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
        for genome in genomes:
            sequence = genome.sequence or ""
            counts = np.array(reads.count_coverage(genome.name))  # one row for each of A, C, G, T
            depth, most = counts.sum(axis=0), counts.argmax(axis=0)
            agree = counts.max(axis=0) >= np.maximum(LEAST_SHARE * depth, 1)
            for at in np.flatnonzero(agree & (depth >= LEAST_DEPTH)):
                base = "ACGT"[most[at]]
                if base != sequence[at]:
                    out.write(f"{genome.name}\t{at + 1}\t.\t{sequence[at]}\t{base}\t.\tPASS\tDP={depth[at]}\n")
