"""From CSV files to a DuckDB database, and from that to a report."""

from os import fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from rayflow import ContentFile, File, FileSet, run, task

SALES, PRODUCTS = FileSet("sales/*.csv"), File("products.csv")

CLEAN = """
    copy (select distinct sale, day, product, pieces from read_csv($source) where pieces is not null order by sale)
    to '{target}' (format parquet)
"""
LOAD_PRODUCTS = "create table products as select * from read_csv($files)"
LOAD_SALES = "create table sales as select * from read_parquet($files)"
BY_MONTH = """
    select strftime(day, '%Y-%m') as month, count(*) as sales, sum(pieces * price) as revenue
    from sales join products using (product) group by month order by month
"""
BY_PRODUCT = """
    select name as product, sum(pieces)::bigint as pieces, sum(pieces * price) as revenue
    from sales join products using (product) group by name order by revenue desc
"""

Table = dict[str, list[Any]]
"""The columns of an answer, by their names."""


@task
def clean(raw: File) -> ContentFile:
    """A month's sales, each once, those without a number of pieces left out."""
    with TemporaryDirectory() as scratch, duckdb.connect() as connection:
        made = Path(scratch, "clean.parquet")
        connection.execute(CLEAN.format(target=made), {"source": fspath(raw)})
        month = ContentFile(f"data/{raw.basename().removesuffix('.csv')}.parquet")
        File(made).copy_to(month)
        return month


@task
def load(months: list[ContentFile], products: File) -> File:
    """The database. It is made beside and then moved, so that nobody reads half of one."""
    with TemporaryDirectory() as scratch:
        made = Path(scratch, "sales.duckdb")
        with duckdb.connect(made) as connection:
            connection.execute(LOAD_PRODUCTS, {"files": fspath(products)})
            connection.execute(LOAD_SALES, {"files": [fspath(month) for month in months]})
        return File(made).copy_to("data/sales.duckdb")


@task
def ask(database: File, question: str) -> Table:
    with duckdb.connect(fspath(database), read_only=True) as connection:
        answer = connection.execute(question)
        names = [column[0] for column in answer.description]
        return dict(zip(names, map(list, zip(*answer.fetchall(), strict=True)), strict=True))


@task
def write_report(title: str, tables: dict[str, Table]) -> File:
    report = File("data/report.md")
    parts = [f"# {title}", *(f"## {heading}\n\n{markdown(table)}" for heading, table in tables.items())]
    report.write("\n\n".join(parts) + "\n")
    return report


def markdown(table: Table) -> str:
    """A table as Markdown."""
    rows = [list(table), ["---"] * len(table), *zip(*table.values(), strict=True)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


@task
def main(sales: FileSet = SALES, products: File = PRODUCTS, title: str = "Sales") -> File:
    database = load([clean(month) for month in sales], products)
    return write_report(title, {"By month": ask(database, BY_MONTH), "By product": ask(database, BY_PRODUCT)})


if __name__ == "__main__":
    print(run(main()).read(), end="")
