"""Writes binomial.csv, the cumulative binomial distribution: pip install scipy; python binomial.py > binomial.csv"""

from scipy.stats import binom

print("k,n,p,cdf")
for n in [1, 7, 50, 400, 3_000, 100_000, 2_000_000]:
    for p in [0.01, 0.1, 0.25, 0.5, 0.8]:
        sd = (n * p * (1 - p)) ** 0.5
        for z in [-6, -2.5, -1, 0, 0.7, 3]:
            k = min(max(int(n * p + z * sd), 0), n)
            print(f"{k},{n},{p},{binom.cdf(k, n, p)!r}".replace("np.float64(", "").replace(")", ""))
