#!/usr/bin/env python3
"""Scoring (self-labelling) speed of transformers, two ways.

`file order` pads each batch of texts as they come, as the method's published script does. `sorted` orders the texts
by length first, the strongest simple way. Prints a JSON line for each: pairs per second (two texts a pair),
tokenization included, model loading excluded. With --token-budget only the sorted way, with batches of at most so many
tokens, padding included, after a warm-up of one pass; a line for each budget.
"""
import argparse
import json
import time

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import preferences


def batches(lengths, order, size, token_budget):
    """Slices of the order: of `size` texts, or of as many as the budget has room for when padded to their longest."""
    if not token_budget:
        return [order[at : at + size] for at in range(0, len(order), size)]
    parts = [[]]
    for i in order:
        # The longest comes first.
        if parts[-1] and lengths[parts[-1][0]] * (len(parts[-1]) + 1) > token_budget:
            parts.append([])
        parts[-1].append(i)
    return parts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--token-budget", type=int, action="append", default=[])
    parser.add_argument("--way", choices=["file order", "sorted"], action="append", help="both by default")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    rows = preferences.read(args.data)
    texts = [row[key] for row in rows for key in ("chosen", "rejected")]
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    cuda = args.device.startswith("cuda")
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model, num_labels=1, dtype=getattr(torch, args.dtype)).to(args.device).eval()

    def score(way, token_budget):
        """Seconds of a pass over all texts."""
        start = time.perf_counter()
        ids = tokenizer(texts, truncation=True, max_length=args.max_length)["input_ids"]
        order = list(range(len(ids)))
        if way == "sorted":
            order.sort(key=lambda i: -len(ids[i]))
        scores = torch.empty(len(ids))
        with torch.inference_mode():
            for part in batches([len(text) for text in ids], order, args.batch, token_budget):
                batch = tokenizer.pad({"input_ids": [ids[i] for i in part]}, return_tensors="pt").to(args.device)
                scores[part] = model(**batch).logits[:, 0].float().sigmoid().cpu()
        return time.perf_counter() - start

    ways = [("sorted", budget) for budget in args.token_budget] or [
        (way, None) for way in args.way or ["file order", "sorted"]]
    for way, token_budget in ways:
        result = {"peer": f"transformers, {way}"}
        if token_budget:
            score(way, token_budget)
            result["token_budget"] = token_budget
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        result["pairs_per_s"] = len(rows) / score(way, token_budget)
        if cuda:
            result["peak_memory"] = torch.cuda.max_memory_allocated()
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
