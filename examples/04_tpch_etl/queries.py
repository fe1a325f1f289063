"""What happens to the data: plain pandas, no tasks. Each function can be tested by itself."""

import pandas as pd

Q1_KEYS = ["l_returnflag", "l_linestatus"]
Q1_COLUMNS = [*Q1_KEYS, "l_quantity", "l_extendedprice", "l_discount", "l_tax", "l_shipdate"]
Q3_COLUMNS = ["l_orderkey", "l_extendedprice", "l_discount", "l_shipdate"]


def pricing_sums(lineitem: pd.DataFrame, shipped_until: str) -> pd.DataFrame:
    """Query 1 for one partition: sums only, so that partitions can be added up."""
    lines = lineitem[lineitem.l_shipdate <= shipped_until]
    discounted = lines.l_extendedprice * (1 - lines.l_discount)
    lines = lines.assign(disc_price=discounted, charge=discounted * (1 + lines.l_tax), count_order=1)
    sums = lines.groupby(Q1_KEYS)[
        ["l_quantity", "l_extendedprice", "disc_price", "charge", "l_discount", "count_order"]
    ].sum()
    return sums.reset_index()


def pricing_summary(sums: list[pd.DataFrame]) -> pd.DataFrame:
    """Query 1 for all partitions: the sums of sums, and the averages that follow from them."""
    all_sums = pd.concat(sums).groupby(Q1_KEYS).sum().sort_index()
    count = all_sums.count_order
    return pd.DataFrame(
        {
            "sum_qty": all_sums.l_quantity,
            "sum_base_price": all_sums.l_extendedprice,
            "sum_disc_price": all_sums.disc_price,
            "sum_charge": all_sums.charge,
            "avg_qty": all_sums.l_quantity / count,
            "avg_price": all_sums.l_extendedprice / count,
            "avg_disc": all_sums.l_discount / count,
            "count_order": count,
        }
    ).reset_index()


def open_orders(orders: pd.DataFrame, customer: pd.DataFrame, segment: str, day: str) -> pd.DataFrame:
    """The orders of a market segment's customers that were placed before a day."""
    customers = customer.loc[customer.c_mktsegment == segment, ["c_custkey"]]
    placed = orders[orders.o_orderdate < day]
    joined = placed.merge(customers, left_on="o_custkey", right_on="c_custkey")
    return joined[["o_orderkey", "o_orderdate", "o_shippriority"]]


def unshipped_revenue(lineitem: pd.DataFrame, wanted: pd.DataFrame, day: str) -> pd.DataFrame:
    """Query 3 for one partition: what the wanted orders have still to be paid after a day, by order."""
    lines = lineitem[lineitem.l_shipdate > day]
    joined = lines.merge(wanted, left_on="l_orderkey", right_on="o_orderkey")
    joined["revenue"] = joined.l_extendedprice * (1 - joined.l_discount)
    return joined.groupby(["l_orderkey", "o_orderdate", "o_shippriority"], as_index=False)[["revenue"]].sum()


def largest(revenues: list[pd.DataFrame], count: int) -> pd.DataFrame:
    """Query 3 for all partitions: the orders with the largest revenue."""
    by_order = pd.concat(revenues).groupby(["l_orderkey", "o_orderdate", "o_shippriority"], as_index=False).sum()
    ordered = by_order.sort_values(["revenue", "o_orderdate"], ascending=[False, True]).head(count)
    return ordered[["l_orderkey", "revenue", "o_orderdate", "o_shippriority"]].reset_index(drop=True)
