"""A sum in pandas: the import, then next to nothing."""
import pandas as pd


def main():
    print(f"pandas {pd.__version__}: {pd.Series([2.5, 4.0, 2.25]).sum()}")


if __name__ == "__main__":
    main()
