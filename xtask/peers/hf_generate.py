#!/usr/bin/env python3
"""Generation speed of transformers: greedy, left-padded batches, key/value cache.

Every answer has exactly --new-tokens tokens. Prints a JSON line: new tokens per second over all batches, tokenization
included, after a first batch that is not counted.
"""
import argparse
import json
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="JSON lines with `prompt`")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    with open(args.data, encoding="utf-8") as lines:
        prompts = [json.loads(line)["prompt"] for line in lines]
    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.dtype)).to(device).eval()

    def generate(texts):
        batch = tokenizer(texts, padding=True, return_tensors="pt").to(device)
        with torch.inference_mode():
            out = model.generate(**batch, do_sample=False, max_new_tokens=args.new_tokens,
                                 min_new_tokens=args.new_tokens)
        new = out[:, batch["input_ids"].shape[1]:]
        assert new.shape[1] == args.new_tokens
        tokenizer.batch_decode(new, skip_special_tokens=True)
        return new.numel()

    generate(prompts[:args.batch])
    start = time.perf_counter()
    made = sum(generate(prompts[at:at + args.batch]) for at in range(0, len(prompts), args.batch))
    print(json.dumps({"peer": "transformers generate", "tokens_per_s": made / (time.perf_counter() - start)}))


if __name__ == "__main__":
    main()
