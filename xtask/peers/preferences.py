"""Preference files: a JSON object per line with `chosen` and `rejected`.

As in HH-RLHF these are whole dialogues; where a row has a `prompt` besides, they are answers, and are made whole.
"""
import argparse
import gzip
import json


def read(path):
    """The rows of a .jsonl or .jsonl.gz file."""
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [whole(json.loads(line)) for line in lines]


def whole(row):
    """The two texts of a row as HH-RLHF writes them."""
    start = f"\n\nHuman: {row['prompt']}\n\nAssistant: " if "prompt" in row else ""
    return {key: start + row[key] for key in ("chosen", "rejected")}


def main():
    """Writes the first pairs of a file as whole texts, or their prompts; with a tokenizer those that fit a length limit."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--tokenizer", help="a model's folder; needs the package tokenizers")
    # One token less than the 512 of the measurements: some append an end token.
    parser.add_argument("--max-length", type=int, default=511)
    parser.add_argument("--fewer", action="store_true", help="take as many as there are if there are not enough")
    parser.add_argument("--out", required=True)
    parser.add_argument("--prompts", action="store_true", help="write what comes before the last answer, as `prompt`")
    args = parser.parse_args()

    fits = lambda row: True
    if args.tokenizer:
        from tokenizers import Tokenizer
        tokenizer = Tokenizer.from_file(f"{args.tokenizer}/tokenizer.json")
        fits = lambda row: all(len(tokenizer.encode(text).ids) <= args.max_length for text in row.values())
    kept = []
    for row in read(args.data):
        if len(kept) == args.pairs:
            break
        if fits(row):
            kept.append(row)
    if len(kept) < args.pairs and not (args.fewer and kept):
        raise SystemExit(f"{args.data} contains {len(kept)} pairs that fit, fewer than the {args.pairs} asked for")
    with open(args.out, "w", encoding="utf-8") as out:
        for row in kept:
            if args.prompts:
                before, mark, _ = row["chosen"].rpartition("\n\nAssistant:")
                row = {"prompt": before + mark}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
