"""Fits a line through noisy points with numpy and prints it."""
import numpy as np


def main():
    x = np.linspace(0.0, 1.0, 50)
    noise = np.random.RandomState(7).normal(scale=0.05, size=x.size)
    y = 2.0 * x + 1.0 + noise
    a = np.column_stack([x, np.ones_like(x)])
    slope, offset = np.linalg.solve(a.T @ a, a.T @ y)
    residual = y - (slope * x + offset)
    print(f"y = {slope:.3f} x + {offset:.3f}, residual {residual.std():.4f}")
    print(np.round(y[:4], 3))


if __name__ == "__main__":
    main()
