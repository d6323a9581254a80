#!/usr/bin/env python3
"""Scoring (self-labelling) speed of transformers, two ways.

`file order` pads each batch of texts as they come, as the method's published script does. `sorted` orders the texts
by length first, the strongest simple way. Prints a JSON line for each: pairs per second (two texts a pair),
tokenization included, model loading excluded.
"""
import argparse
import json
import time

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import preferences


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    rows = preferences.read(args.data)
    texts = [row[key] for row in rows for key in ("chosen", "rejected")]
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model, num_labels=1, dtype=getattr(torch, args.dtype)).to(device).eval()
    for way in ("file order", "sorted"):
        start = time.perf_counter()
        ids = tokenizer(texts, truncation=True, max_length=args.max_length)["input_ids"]
        order = list(range(len(ids)))
        if way == "sorted":
            order.sort(key=lambda i: -len(ids[i]))
        scores = torch.empty(len(ids))
        with torch.inference_mode():
            for at in range(0, len(order), args.batch):
                part = order[at : at + args.batch]
                batch = tokenizer.pad({"input_ids": [ids[i] for i in part]}, return_tensors="pt").to(device)
                scores[part] = model(**batch).logits[:, 0].float().sigmoid().cpu()
        seconds = time.perf_counter() - start
        print(json.dumps({"peer": f"transformers, {way}", "pairs_per_s": len(rows) / seconds}))


if __name__ == "__main__":
    main()
