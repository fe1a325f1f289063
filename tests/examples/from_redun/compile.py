from redun import File, script, task

redun_namespace = "compiling"


@task()
def source(name: str, text: str) -> File:
    file = File(name)
    file.write(text)
    return file


@task()
def compiled(file: File) -> File:
    target = file.path.replace(".c", ".o")
    return script(f"cc -c {file.path} -o {target}", inputs=[file.stage(file.path)], outputs=File(target))


@task()
def linked(objects: list, name: str) -> File:
    command = f"cc {' '.join(each.path for each in objects)} -o {name}"
    return script(command, inputs=[each.stage(each.path) for each in objects], outputs=File(name))


@task(script=True)
def started(program: File) -> str:
    return f"./{program.path}"


@task()
def text(printed: bytes) -> str:
    return printed.decode().strip()


@task()
def main() -> str:
    parts = [
        source("half.c", "int half(int x) { return x / 2; }\n"),
        source("prog.c", '#include <stdio.h>\nint half(int);\nint main() { printf("%d\\n", half(84)); }\n'),
    ]
    return text(started(linked([compiled(part) for part in parts], "prog")))
