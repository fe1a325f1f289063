import sqlite3

from redun import Handle, merge_handles, task

redun_namespace = "database"


class Db(Handle):
    def __init__(self, name: str, path: str):
        self.path = path
        self.instance = sqlite3.connect(path)


@task()
def schema(db: Db) -> Db:
    db.execute("drop table if exists item")
    db.execute("create table item (name text, price integer)")
    db.commit()
    return db


@task()
def load(db: Db, items: list) -> Db:
    for name, price in items:
        db.execute("delete from item where name = ?", (name,))
        db.execute("insert into item values (?, ?)", (name, price))
    db.commit()
    return db


@task()
def total(db: Db) -> int:
    return db.execute("select sum(price) from item").fetchone()[0]


@task()
def names(db: Db) -> list:
    return [name for (name,) in db.execute("select name from item order by name")]


@task()
def main(path: str = "shop.db") -> list:
    db = schema(Db("shop", path=path))
    one, other = load(db.fork("a"), [("nut", 2), ("bolt", 3)]), load(db.fork("b"), [("saw", 20)])
    full = merge_handles([one, other])
    return [total(full), names(full)]
