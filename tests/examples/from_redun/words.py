from collections import Counter

from redun import File, task

redun_namespace = "words"


@task()
def texts() -> list:
    made = []
    for name, text in {"a.txt": "one two two", "b.txt": "two three", "c.txt": "one one"}.items():
        file = File(name)
        with file.open("w") as out:
            out.write(text)
        made.append(file)
    return made


@task()
def count(file: File) -> dict:
    return dict(Counter(file.read().split()))


@task()
def merge(parts: list) -> dict:
    whole: Counter = Counter()
    for part in parts:
        whole.update(part)
    return dict(sorted(whole.items()))


@task()
def over(files: list) -> dict:
    return merge([count(file) for file in files])


@task()
def main() -> dict:
    return over(texts())
