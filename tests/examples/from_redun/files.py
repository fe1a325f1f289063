from redun import Dir, File, task

redun_namespace = "files"


@task()
def fill(folder: str) -> Dir:
    for number in range(3):
        with File(f"{folder}/part{number}.txt").open("w") as out:
            out.write(f"{number}\n" * number)
    return Dir(folder)


@task()
def sizes(folder: Dir) -> list:
    return [[file.basename(), file.size(), file.exists()] for file in sorted(folder, key=lambda each: each.path)]


@task()
def copied(folder: Dir, path: str) -> File:
    return File(f"{folder.path}/part2.txt").copy_to(File(path))


@task()
def text(file: File) -> list:
    return file.readlines()


@task()
def main() -> list:
    folder = fill("parts")
    return [sizes(folder), text(copied(folder, "copy.txt"))]
