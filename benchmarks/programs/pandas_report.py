"""The same with a column added and a groupby: more of pandas, and more work of its own than pandas_prog.py."""
import pandas as pd

SALES = {
    "region": ["north", "south", "north", "east", "south", "west"],
    "units": [12, 7, 30, 4, 19, 25],
    "price": [2.5, 4.0, 2.25, 10.0, 3.75, 1.2],
}


def main():
    sales = pd.DataFrame(SALES)
    sales["revenue"] = sales["units"] * sales["price"]
    by_region = sales.groupby("region")["revenue"].sum()
    for region, revenue in by_region.items():
        print(f"{region:<8}{revenue:>10.2f}")
    print(f"{'total':<8}{sales['revenue'].sum():>10.2f}")


if __name__ == "__main__":
    main()
