"""Makes length_control.json: win rates at equal length by another road than Newton's method.

The objective (cross-entropy of sigmoid(theta + phi tanh(d / std(d))), plus 0.005 phi^2) is convex, so its derivatives
are solved by nested bisection: theta for a given phi, then phi.

Run: python3 length_control.py > length_control.json   (numpy)
"""
import json

import numpy as np

rng = np.random.default_rng(20240)


def bisect(rising, low, high):
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def rate(outcomes, differences):
    y, d = np.asarray(outcomes, float), np.asarray(differences, float)
    x = np.tanh(d / d.std(ddof=1))

    def error(theta, phi):
        return np.exp(-np.logaddexp(0, -(theta + phi * x))) - y

    def best_theta(phi):
        return bisect(lambda theta: error(theta, phi).sum(), -60, 60)

    phi = bisect(lambda phi: (error(best_theta(phi), phi) * x).sum() + 0.01 * phi, -60, 60)
    theta = best_theta(phi)
    return {"outcomes": outcomes, "differences": differences, "phi": phi, "rate": 1 / (1 + np.exp(-theta))}


def drawn(n, theta, phi, shift):
    d = np.round(rng.normal(shift, 120, n))
    p = 1 / (1 + np.exp(-(theta + phi * np.tanh(d / d.std(ddof=1)))))
    y = (rng.random(n) < p).astype(float)
    y[rng.random(n) < 0.15] = 0.5
    return rate(y.tolist(), d.tolist())


cases = [
    drawn(40, 0.0, 0.0, 0),
    drawn(200, 0.4, 1.5, 60),
    drawn(200, -0.8, -1.0, -30),
    drawn(15, 0.2, 3.0, 100),
    # Length alone tells wins from losses: only the penalty keeps phi finite.
    rate([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], [300.0, 200.0, 250.0, -100.0, -150.0, -120.0]),
    rate([1.0, 0.5, 0.5, 0.5], [10.0, -20.0, 3.0, 5.0]),
]
print(json.dumps(cases, indent=1))
