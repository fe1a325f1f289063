"""Variant calling: reads of two samples are mapped to a genome, and where they differ from it is called.

The reads are simulated, so it is known what should be found. `folder` may be a URL: `--folder s3://bucket/run`.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import simulation
import wheels

from rayflow import Dir, File, run, script, task

SAMPLES = {"ann": 11, "bob": 12}


# --- what is simulated ------------------------------------------------------------------------------------------------


@task
def make_genome(folder: str, seed: int) -> File:
    file = File(f"{folder}/genome.fa")
    file.write(f">chr1\n{simulation.genome(seed)}\n")
    return file


@task
def sequence_sample(genome: File, folder: str, name: str, seed: int) -> dict[str, File]:
    """What a sequencer reads of a sample, and the truth."""
    bases = genome.readlines()[1].strip()
    truth = simulation.variants(bases, seed)
    files = {"reads": File(f"{folder}/{name}.fastq.gz"), "truth": File(f"{folder}/{name}.truth.tsv")}
    files["reads"].write(simulation.reads(bases, truth, seed))
    files["truth"].write("".join(f"{position}\t{old}\t{new}\n" for position, old, new in truth))
    return files


# --- in Python --------------------------------------------------------------------------------------------------------


@task
def align(genome: File, reads: File, bam: str) -> dict[str, File]:
    with TemporaryDirectory() as scratch:
        made = f"{scratch}/aligned.bam"
        wheels.align(here(genome, scratch), here(reads, scratch), made)
        return {"bam": File(made).copy_to(bam), "index": File(f"{made}.bai").copy_to(f"{bam}.bai")}


@task
def call(genome: File, aligned: dict[str, File], vcf: str) -> File:
    with TemporaryDirectory() as scratch:
        bam, _ = [here(file, scratch) for file in aligned.values()]
        made = f"{scratch}/calls.vcf"
        wheels.call(here(genome, scratch), bam, made)
        return File(made).copy_to(vcf)


def here(file: File, folder: str) -> str:
    """The path of a copy in a local folder: libraries in C open no URLs."""
    return file.copy_to(Path(folder, file.basename())).path


# --- by programs ------------------------------------------------------------------------------------------------------


@task
def index_for_bwa(genome: File, folder: str) -> Dir:
    return script(
        "mkdir bwa && bwa index -p bwa/genome genome.fa",
        inputs=genome.stage("genome.fa"),
        outputs=Dir(f"{folder}/bwa").stage("bwa"),
    )


@task
def align_with_bwa(index: Dir, reads: File, bam: str) -> dict[str, File]:
    return script(
        """
        bwa mem bwa/genome reads.fastq.gz | samtools sort -o aligned.bam -
        samtools index aligned.bam
        """,
        inputs=[index.stage("bwa"), reads.stage("reads.fastq.gz")],
        outputs={"bam": File(bam).stage("aligned.bam"), "index": File(f"{bam}.bai").stage("aligned.bam.bai")},
    )


@task
def call_with_bcftools(genome: File, aligned: dict[str, File], vcf: str) -> File:
    near = {"genome.fa": genome, "aligned.bam": aligned["bam"], "aligned.bam.bai": aligned["index"]}
    return script(
        "bcftools mpileup -f genome.fa aligned.bam | bcftools call --ploidy 1 -mv -V indels -o calls.vcf",
        inputs=[file.stage(name) for name, file in near.items()],
        outputs=File(vcf).stage("calls.vcf"),
    )


# --- both ways --------------------------------------------------------------------------------------------------------


@task
def compare(truth: File, calls: File) -> dict[str, int]:
    """How many variants were found, missed, and called where there is none."""
    true = {tuple(line.split()) for line in truth.readlines()}
    rows = [line.split("\t") for line in calls.readlines() if not line.startswith("#")]
    called = {(row[1], row[3], row[4]) for row in rows}
    return {"found": len(true & called), "missed": len(true - called), "wrong": len(called - true)}


@task
def main(folder: str = "data", programs: bool = False, genome_seed: int = 1) -> dict[str, dict[str, int]]:
    """How good the calls are, sample by sample. programs: by bwa, samtools and bcftools, not in Python."""
    genome = make_genome(folder, genome_seed)
    found = {}
    for name, seed in SAMPLES.items():
        sample = sequence_sample(genome, folder, name, seed)
        way = f"{folder}/{name}.{'bwa' if programs else 'mappy'}"
        if programs:
            aligned = align_with_bwa(index_for_bwa(genome, folder), sample["reads"], f"{way}.bam")
            calls = call_with_bcftools(genome, aligned, f"{way}.vcf")
        else:
            aligned = align(genome, sample["reads"], f"{way}.bam")
            calls = call(genome, aligned, f"{way}.vcf")
        found[name] = compare(sample["truth"], calls)
    return found


if __name__ == "__main__":
    for name, counts in run(main()).items():
        print(f"{name}: {counts}")
