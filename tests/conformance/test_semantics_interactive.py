"""In a notebook definitions are made again as one goes: a run has the code that stands there when it starts."""

from __future__ import annotations

from projects import Project

NOTEBOOK = '''
    import linecache
    import sys

    SPACE = sys.modules["__main__"].__dict__
    SPACE.pop("__file__")

    def cell(text):
        """What a notebook does with a cell."""
        name = f"<cell {len(linecache.cache)}>"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        exec(compile(text, name, "exec"), SPACE)

    cell("""
    import rayflow
    from rayflow import task
    """)
    cell("""
    def helper():
        return 1
    class Point:
        def norm(self):
            return 10
    LIMIT = 100
    """)
    cell("""
    @task
    def main():
        return [helper(), LIMIT, norm(point())]
    @task
    def point():
        return Point()
    @task
    def norm(point):
        return point.norm()
    """)
    cell("print(rayflow.run(main(), inline=True))")
    cell("print(rayflow.run(main(), inline=True))")
    cell("""
    def helper():
        return 2
    """)
    cell("print(rayflow.run(main(), inline=True))")
    cell("LIMIT = 200")
    cell("print(rayflow.run(main(), inline=True))")
    cell("""
    class Point:
        def norm(self):
            return 20
    """)
    cell("print(rayflow.run(main(), inline=True))")
    cell("print(isinstance(rayflow.run(point(), inline=True), Point))")
'''


def test_a_cell_that_is_run_again_counts_for_the_tasks_of_other_cells(project: Project) -> None:
    project.write("notebook.py", NOTEBOOK)
    ended = project.python("notebook.py")
    assert ended.stdout.splitlines() == [
        "[1, 100, 10]",
        "[1, 100, 10]",
        "[2, 100, 10]",
        "[2, 200, 10]",
        "[2, 200, 20]",
        "True",
    ], ended.stderr
    query = "select execution_id, count(*) from jobs where how = 'computed' group by execution_id order by execution_id"
    assert [count for _, count in project.sql(query)] == [3, 1, 1, 2]
