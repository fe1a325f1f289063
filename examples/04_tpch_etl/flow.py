"""TPC-H queries 1 and 3 over partitioned Parquet: one task for each partition, a join, two report tables.

`python flow.py` prints the reports; `rayflow run flow.py check` compares them with DuckDB's answers.
"""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import queries
from tables import TABLES, Partition, generate, partitions_of

from rayflow import run, task

DATA = Path(__file__).parent / "data"

SHIPPED_UNTIL = "1998-09-02"
SEGMENT = "BUILDING"
DAY = "1995-03-15"


@task(cache_scope="NONE")
def survey(scale: float, parts: int) -> dict[str, list[Partition]]:
    """Which partitions there are, and what is in them; generates them when there are none.

    Looks at the world outside, so its answer is never taken from the cache. It is quick, and what comes after it runs
    only for the partitions that are new or have changed.
    """
    folder = DATA / f"scale-{scale}-parts-{parts}"
    if not folder.exists():
        generate(folder, scale, parts)
    return {table: partitions_of(folder, table) for table in TABLES}


# --- query 1: the pricing summary -------------------------------------------------------------------------------------


@task
def pricing_summary(lineitem: list[Partition]) -> pd.DataFrame:
    return add_up([pricing_sums(partition) for partition in lineitem])


@task
def pricing_sums(partition: Partition) -> pd.DataFrame:
    return queries.pricing_sums(partition.read(queries.Q1_COLUMNS), SHIPPED_UNTIL)


@task
def add_up(sums: list[pd.DataFrame]) -> pd.DataFrame:
    return queries.pricing_summary(sums)


# --- query 3: the orders to ship first --------------------------------------------------------------------------------


@task
def shipping_priority(tables: dict[str, list[Partition]], count: int = 10) -> pd.DataFrame:
    customer = read_customers(tables["customer"])
    wanted = join_orders([open_orders(partition, customer) for partition in tables["orders"]])
    return largest([unshipped_revenue(partition, wanted) for partition in tables["lineitem"]], count)


@task
def read_customers(customer: list[Partition]) -> pd.DataFrame:
    return pd.concat([part.read(["c_custkey", "c_mktsegment"]) for part in customer], ignore_index=True)


@task
def open_orders(partition: Partition, customer: pd.DataFrame) -> pd.DataFrame:
    orders = partition.read(["o_orderkey", "o_custkey", "o_orderdate", "o_shippriority"])
    return queries.open_orders(orders, customer, SEGMENT, DAY)


@task
def join_orders(parts: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)


@task
def unshipped_revenue(partition: Partition, wanted: pd.DataFrame) -> pd.DataFrame:
    return queries.unshipped_revenue(partition.read(queries.Q3_COLUMNS), wanted, DAY)


@task
def largest(revenues: list[pd.DataFrame], count: int) -> pd.DataFrame:
    return queries.largest(revenues, count)


# --- both, and the check ----------------------------------------------------------------------------------------------


@task
def main(scale: float = 0.01, parts: int = 4) -> dict[str, pd.DataFrame]:
    """Both reports."""
    tables = survey(scale, parts)
    return {"pricing": pricing_summary(tables["lineitem"]), "shipping": shipping_priority(tables)}


Q1 = """
    select l_returnflag, l_linestatus, sum(l_quantity) as sum_qty, sum(l_extendedprice) as sum_base_price,
           sum(l_extendedprice * (1 - l_discount)) as sum_disc_price,
           sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) as sum_charge, avg(l_quantity) as avg_qty,
           avg(l_extendedprice) as avg_price, avg(l_discount) as avg_disc, count(*) as count_order
    from lineitem where l_shipdate <= cast($until as date)
    group by l_returnflag, l_linestatus order by l_returnflag, l_linestatus
"""
Q3 = """
    select l_orderkey, sum(l_extendedprice * (1 - l_discount)) as revenue, o_orderdate, o_shippriority
    from customer, orders, lineitem
    where c_mktsegment = $segment and c_custkey = o_custkey and l_orderkey = o_orderkey
      and o_orderdate < cast($day as date) and l_shipdate > cast($day as date)
    group by l_orderkey, o_orderdate, o_shippriority order by revenue desc, o_orderdate limit 10
"""


@task
def duckdb_answers(tables: dict[str, list[Partition]]) -> dict[str, pd.DataFrame]:
    """The same two queries, asked of DuckDB."""
    with duckdb.connect() as connection:
        for table, partitions in tables.items():
            connection.read_parquet([partition.path for partition in partitions]).create_view(table)
        return {
            "pricing": connection.execute(Q1, {"until": SHIPPED_UNTIL}).df(),
            "shipping": connection.execute(Q3, {"segment": SEGMENT, "day": DAY}).df(),
        }


@task
def differences(ours: dict[str, pd.DataFrame], theirs: dict[str, pd.DataFrame]) -> list[str]:
    """The columns in which two sets of reports differ, by more than rounding."""
    found = []
    for report, frame in ours.items():
        other = theirs[report]
        for column in frame.columns:
            one, two = frame[column].to_numpy(), other[column].to_numpy()
            is_number = np.issubdtype(one.dtype, np.number)
            same = np.allclose(one, two.astype("float64"), rtol=1e-9) if is_number else list(one) == list(two)
            if not same:
                found.append(f"{report}.{column}")
    return found


@task
def check(scale: float = 0.01, parts: int = 4) -> list[str]:
    """Where the reports differ from DuckDB's: nowhere, if all is well."""
    return differences(main(scale, parts), duckdb_answers(survey(scale, parts)))


if __name__ == "__main__":
    for name, report in run(main()).items():
        print(f"--- {name}\n{report.to_string(index=False)}")
