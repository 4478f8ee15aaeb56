"""A sum in numpy: the import, then next to nothing."""
import numpy as np


def main():
    print(np.arange(10).sum())


if __name__ == "__main__":
    main()
