#!/usr/bin/env python3
"""adafactor.json: weights before and after five steps of transformers' Adafactor, with gradients sin(weight + step).

  pip install torch==2.11.0 transformers==5.23.0
  python make_optimizers.py
"""
import json, pathlib

import torch
from transformers import Adafactor

torch.manual_seed(2)
matrix, vector = torch.randn(4, 3), torch.randn(5)
cases = []
for settings, weight_decay in [
    (dict(scale_parameter=False, relative_step=False, warmup_init=False), 0.0),
    (dict(scale_parameter=True, relative_step=False, warmup_init=False), 0.1),
    (dict(scale_parameter=True, relative_step=True, warmup_init=True), 0.0),
    (dict(scale_parameter=False, relative_step=True, warmup_init=False), 0.01),
]:
    params = [torch.nn.Parameter(matrix.clone()), torch.nn.Parameter(vector.clone())]
    rate = None if settings["relative_step"] else 0.01
    optimizer = Adafactor(params, lr=rate, weight_decay=weight_decay, **settings)
    for step in range(1, 6):
        for p in params:
            p.grad = torch.sin(p.detach() + step)
        optimizer.step()
    cases.append(dict(settings=settings, weight_decay=weight_decay, matrix=params[0].flatten().tolist(),
                      vector=params[1].tolist()))
(pathlib.Path(__file__).parent / "adafactor.json").write_text(
    json.dumps(dict(matrix=matrix.flatten().tolist(), vector=vector.tolist(), cases=cases), indent=1) + "\n")
