"""A project whose tasks run again for every reason that there is."""

FLOW = """
from pathlib import Path

from rayflow import ContentFile, Dir, File, FileSet, Handle, Value, catch, get_context, no_prov, script, task

LIMIT = 3

class Point:
    def __init__(self, x):
        self.x = x

    def moved(self):
        return self.x + 1

class Flag(Value):
    def is_valid(self):
        return not Path("invalid").exists()

class Database(Handle):
    def __init__(self, name):
        self.name = name

def helper(x):
    return x + 1

@task
def flagged():
    return Flag()

@task
def large():
    return "x" * 1_000_000

@task
def fill(db, n):
    return db

@task
def leaf(x=1):
    return x

@task
def helped(x=1):
    return helper(x)

@task
def limited(x=1):
    return x < LIMIT

@task(version="1")
def versioned(x=1):
    return x

@task
def read(f):
    return f.read()

@task
def read_many(fs):
    return len(fs)

@task
def read_default(f=File("in.txt")):
    return f.read()

@task
def read_context(f=get_context("input")):
    return f.read()

@task
def write(text="text"):
    out = File("out.txt")
    out.write(text)
    return out

@task
def write_folder():
    Path("made").mkdir(exist_ok=True)
    Path("made/a.txt").write_text("a")
    Path("made/b.txt").write_text("b")
    return Dir("made")

@task
def scripted(f):
    return script("cat in.txt", inputs=[f.stage("in.txt")])

@task
def fragile(x=1, y=0):
    if Path("broken").exists():
        raise ValueError("it is broken")
    return x

@task
def takes_point(p):
    return p.moved()

@task
def gives_point():
    return Point(1)

@task
def calls_leaf():
    return leaf(2)

@task
def calls_old():
    return globals()["old_" + "leaf"](2)

@task
def gives_task():
    return globals()["old_" + "leaf"]

@task
def old_leaf(x=1):
    return x * 9

@task
async def awaits_leaf():
    return await leaf(3)

@task
async def awaits_context():
    return await contextual()

@task
def contextual(x=1):
    return get_context("host", "none")

@task(cache=False)
def uncached(x=1):
    return x

@task(cache_scope="NONE")
def never_cached(x=1):
    return x

@task(cache_for="1h")
def short_lived(x=1):
    return x

@task
def aside():
    return no_prov(leaf(4))
"""
