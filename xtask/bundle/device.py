#!/usr/bin/env python3
"""The machine as PyTorch sees it, and the rates of a plain bfloat16 product and of a copy. Prints one line of JSON."""
import argparse
import json
import os
import time

import torch


def seconds(work, device, warm_up=3, times=10):
    """The mean time of `work`."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(warm_up):
        work()
    wait()
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - start) / times


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=8192)
    args = parser.parse_args()
    a, b = (torch.randn(args.rows, args.rows, device=args.device, dtype=torch.bfloat16) for _ in range(2))
    product = seconds(lambda: a @ b, args.device)
    source = torch.zeros(max(args.rows // 8, 1) << 20, dtype=torch.uint8, device=args.device)
    target = torch.empty_like(source)
    copy = seconds(lambda: target.copy_(source), args.device)
    found = {"torch": torch.__version__, "cuda": torch.version.cuda, "cpus": os.cpu_count(),
             "matrix_rows": args.rows, "matrix_tflops": 2 * args.rows**3 / product / 1e12,
             "copy_gb_per_s": 2 * source.numel() / copy / 1e9}
    if args.device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
        found["gpu_memory_gb"] = torch.cuda.get_device_properties(0).total_memory / 1e9
    print(json.dumps(found))


if __name__ == "__main__":
    main()
