"""Weather stations: files in, files out, and only what a change of a file touches runs again."""

from rayflow import ContentFile, File, FileSet, run, task

STATIONS = FileSet("stations/*.csv")


@task
def clean(raw: File) -> ContentFile:
    """The days on which the station gave a reading.

    The result is known by its content: where the content is as before, what comes after it need not run.
    """
    heading, *days = raw.readlines()
    cleaned = ContentFile(f"data/{raw.basename()}")
    cleaned.write(heading + "".join(day for day in days if not day.endswith(",\n")))
    return cleaned


@task
def warmest(stations: list[File]) -> File:
    """The warmest day of each station."""
    report = File("data/warmest.txt")
    lines = []
    for station in stations:
        days = [line.strip().split(",") for line in station.readlines()[1:]]
        day, celsius = max(days, key=lambda row: float(row[1]))
        lines.append(f"{station.basename().removesuffix('.csv'):<8} {day}  {celsius}\n")
    report.write("".join(lines))
    return report


@task
def main(stations: FileSet = STATIONS) -> File:
    return warmest([clean(raw) for raw in stations])


if __name__ == "__main__":
    print(run(main()).read(), end="")
