from redun import File, script, task

redun_namespace = "scripts"


@task(script=True)
def shout(word: str) -> str:
    return f"""
    echo {word} | tr a-z A-Z
    """


@task()
def lines(output: bytes) -> list:
    return output.decode("utf8").split()


@task()
def write(path: str, text: str) -> File:
    file = File(path)
    file.write(text)
    return file


@task()
def content(file: File) -> str:
    return file.read()


@task()
def sort_lines(file: File) -> File:
    return script(
        """
        sort < in.txt > out.txt
        """,
        inputs=[file.stage("in.txt")],
        outputs=File("sorted.txt").stage("out.txt"),
    )


@task()
def python_too(path: str) -> dict:
    return script(
        """
        #!/usr/bin/env python3
        with open("numbers.txt", "w") as out:
            print(6 * 7, file=out)
        """,
        outputs={"numbers": File(path).stage("numbers.txt"), "printed": None},
    )["numbers"]


@task()
def counted(text: str) -> bytes:
    return script(f"echo {text} | wc -w", tempdir=True)


@task()
def main() -> list:
    made = write("plain.txt", "c\na\nb\n")
    answer = python_too("answer.txt")
    return [lines(shout("hey you")), content(sort_lines(made)), content(answer), lines(counted("a b"))]
