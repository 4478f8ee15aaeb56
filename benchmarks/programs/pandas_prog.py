"""The day's takings: a small table in pandas and its totals, as a cron job or a shell alias would print them."""
import pandas as pd

SALES = {
    "region": ["north", "south", "north", "east", "south", "west"],
    "units": [12, 7, 30, 4, 19, 25],
    "price": [2.5, 4.0, 2.25, 10.0, 3.75, 1.2],
}


def main():
    sales = pd.DataFrame(SALES)
    revenue = sales["units"] * sales["price"]
    for region, amount in zip(sales["region"], revenue):
        print(f"{region:<8}{amount:>10.2f}")
    print(f"{'total':<8}{revenue.sum():>10.2f}")
    print(f"{'units':<8}{sales['units'].sum():>10}")


if __name__ == "__main__":
    main()
