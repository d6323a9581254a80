"""Makes loss.json: values and gradients of every loss by PyTorch's autograd, in float64.

Run: python3 loss.py > loss.json   (torch 2.x)
"""
import json

import torch
import torch.nn.functional as F

torch.manual_seed(20240)
N = 24


def numbers(*shape, scale):
    # Rounded, so that the JSON has exactly the numbers that torch computed with.
    return (torch.randn(*shape, dtype=torch.float64) * scale * 1024).round() / 1024


scores = numbers(N, 2, scale=2.0)
scores[0] = torch.tensor([1e4, -1e4])
scores[1] = torch.tensor([-1e4, 1e4])
scores[2] = torch.tensor([1e4, 1e4])
weights = (torch.rand(N, dtype=torch.float64) * 64).round() / 16
weights[3] = 0.0
probabilities = 0.5 + (torch.rand(N, dtype=torch.float64) * 64).round() / 128
margins = [None if i % 3 else round(float(torch.rand(())) * 2, 3) for i in range(N)]


def pairwise(kind, margin, smoothing, centering, weighted, soft, own_margins):
    r = scores.clone().requires_grad_(True)
    m = torch.tensor([margin if own is None or not own_margins else own for own in margins], dtype=torch.float64)
    p = probabilities if soft else torch.ones(N, dtype=torch.float64)
    w = weights if weighted else torch.ones(N, dtype=torch.float64)
    q = p * (1 - smoothing) + (1 - p) * smoothing
    d = r[:, 0] - r[:, 1]
    if kind == "hinge":
        f = lambda x: F.relu(-x)
    elif kind == "bradley_terry":
        f = lambda x: -F.logsigmoid(x)
    else:
        f = lambda x: torch.logaddexp(torch.zeros_like(x), -x)
        m = torch.zeros_like(m)
    loss = q * f(d - m) + (1 - q) * f(-d - m) + centering * (r[:, 0] + r[:, 1]) ** 2
    value = (w * loss).sum() / w.sum()
    value.backward()
    return {
        "settings": {"kind": kind, "label_smoothing": smoothing, "centering": centering}
        | ({} if kind == "log_exp" else {"margin": margin}),
        "weighted": weighted,
        "soft": soft,
        "own_margins": own_margins,
        "value": value.item(),
        "gradient": r.grad.tolist(),
    }


policy = numbers(N, 2, scale=8.0) - 40
reference = numbers(N, 2, scale=8.0) - 40
policy[0] = torch.tensor([-1.0, -9000.0])
policy[1] = torch.tensor([-9000.0, -1.0])


def dpo(kind, beta, smoothing, weighted, soft):
    pi = policy.clone().requires_grad_(True)
    p = probabilities if soft else torch.ones(N, dtype=torch.float64)
    w = weights if weighted else torch.ones(N, dtype=torch.float64)
    q = p * (1 - smoothing) + (1 - p) * smoothing
    h = (pi[:, 0] - reference[:, 0]) - (pi[:, 1] - reference[:, 1])
    if kind == "sigmoid":
        loss = -q * F.logsigmoid(beta * h) - (1 - q) * F.logsigmoid(-beta * h)
    else:
        loss = q * (h - 1 / (2 * beta)) ** 2 + (1 - q) * (-h - 1 / (2 * beta)) ** 2
    value = (w * loss).sum() / w.sum()
    value.backward()
    return {
        "settings": {"kind": kind, "beta": beta, "label_smoothing": smoothing},
        "weighted": weighted,
        "soft": soft,
        "value": value.item(),
        "gradient": pi.grad.tolist(),
        "rewards": (beta * (pi.detach() - reference)).tolist(),
    }


print(
    json.dumps(
        {
            "scores": scores.tolist(),
            "weights": weights.tolist(),
            "probabilities": probabilities.tolist(),
            "margins": margins,
            "policy": policy.tolist(),
            "reference": reference.tolist(),
            "pairwise": [
                pairwise("hinge", 1.0, 0.0, 0.0, False, False, False),
                pairwise("hinge", 0.5, 0.1, 0.01, True, True, True),
                pairwise("bradley_terry", 0.0, 0.0, 0.0, False, False, False),
                pairwise("bradley_terry", 0.0, 0.0, 0.01, False, False, True),
                pairwise("bradley_terry", 0.25, 0.1, 0.0, True, True, True),
                pairwise("log_exp", 0.0, 0.0, 0.0, False, False, False),
                pairwise("log_exp", 0.0, 0.2, 0.001, True, False, True),
            ],
            "dpo": [
                dpo("sigmoid", 0.1, 0.0, False, False),
                dpo("sigmoid", 0.3, 0.1, True, True),
                dpo("ipo", 0.1, 0.0, False, False),
                dpo("ipo", 0.5, 0.05, True, True),
            ],
        },
        indent=1,
    )
)
