"""Downloads that go easy on a mirror: named limits, and tags to find the calls by."""

from rayflow import apply_tags, map_, run, task

MIRROR = {"chr1": "ACGTACGT", "chr2": "GGGC", "chrX": "ATATAT"}
NAMES = sorted(MIRROR)


@task(limits=["mirror"], retries=2, tags={"stage": "download"})
def download(name: str) -> str:
    """One file. However many calls are ready, only as many as the limit has run at a time."""
    return MIRROR[name]


@task(tags={"stage": "count"})
def gc_content(bases: str) -> float:
    return sum(base in "GC" for base in bases) / len(bases)


@task
def mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 3)


@task
def measure(name: str) -> float:
    # Two places of the four: a large file is as good as two.
    heavy = download.options(limits={"mirror": 2}, priority=1) if name == "chr1" else download
    return gc_content(heavy(name))


@task
def main(names: list[str] = NAMES) -> float:
    result = mean(map_(measure, names))
    return apply_tags(result, {"kind": "gc"}, job_tags={"files": len(names)}, execution_tags={"study": "mirror"})


if __name__ == "__main__":
    print(run(main()))
