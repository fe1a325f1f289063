"""grep over files: a script for each file of a set."""

from shlex import quote

from rayflow import File, FileSet, run, task

LOGS = FileSet("logs/*.log")


@task(script=True)
def grep(pattern: str, file: File) -> str:
    """The lines that match. grep ends with 1 where there are none, which is no failure here; 2 and more are."""
    return f"""
        grep -n -e {quote(pattern)} {quote(str(file))} || test $? -eq 1
    """


@task
def grep_files(pattern: str, files: FileSet) -> dict[str, list[str]]:
    """The lines of each file that match."""
    return {file.basename(): grep(pattern, file).splitlines() for file in files}


@task
def main(pattern: str = "ERROR", files: FileSet = LOGS) -> dict[str, list[str]]:
    return grep_files(pattern, files)


if __name__ == "__main__":
    for name, lines in run(main()).items():
        print(f"{name}: {lines}")
