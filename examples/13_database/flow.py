"""A database that tasks fill, step by step: its states are cached, and steps that change are done again."""

import sqlite3
from pathlib import Path
from typing import Any

from rayflow import Handle, run, task


class Database(Handle):
    """An SQLite file. Each task that gets it opens a connection of its own."""

    def __init__(self, name: str, path: str):
        file = Path(__file__).parent / path
        file.parent.mkdir(exist_ok=True)
        self.connection = sqlite3.connect(file)

    def write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """Carry out one statement for many rows: all of them, or none."""
        with self.connection:
            self.connection.executemany(statement, rows)


@task
def create(db: Database) -> Database:
    """Empty tables. Whatever was there before is gone: all that comes later is made again."""
    with db.connection:
        db.connection.executescript(
            """
            drop table if exists stock; create table stock (item primary key, count);
            drop table if exists price; create table price (item primary key, euros);
            """
        )
    return db


@task
def count_stock(db: Database) -> Database:
    """`insert or replace`: the same when it is done a second time."""
    db.write("insert or replace into stock values (?, ?)", [("bolt", 1000), ("nut", 800), ("washer", 2500)])
    return db


@task
def set_prices(db: Database) -> Database:
    """A step on another table: it needs nothing of the one above."""
    db.write("insert or replace into price values (?, ?)", [("bolt", 0.2), ("nut", 0.1), ("washer", 0.02)])
    return db


@task
def worth(stock: Database, prices: Database) -> float:
    """A task that only reads returns no handle. It comes after both steps, since it takes what they give."""
    (total,) = stock.connection.execute("select sum(count * euros) from stock join price using (item)").fetchone()
    return round(total, 2)


@task
def main(path: str = "data/stock.db") -> float:
    """The two steps do not touch each other, so each takes a fork of the new database."""
    db = create(Database("stock", path))
    return worth(count_stock(db.fork("stock")), set_prices(db.fork("prices")))


if __name__ == "__main__":
    print(run(main()))
