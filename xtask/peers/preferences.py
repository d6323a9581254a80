"""Preference files: a JSON object per line with `chosen` and `rejected`.

As in HH-RLHF these are whole dialogues; where a row has a `prompt` besides, they are answers, and are made whole.
"""
import argparse
import gzip
import json


def read(path, limit=None):
    """The first `limit` rows of a .jsonl or .jsonl.gz file."""
    opener = gzip.open if str(path).endswith(".gz") else open
    rows = []
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if limit is not None and len(rows) == limit:
                break
            rows.append(whole(json.loads(line)))
    return rows


def whole(row):
    """The two texts of a row as HH-RLHF writes them."""
    start = f"\n\nHuman: {row['prompt']}\n\nAssistant: " if "prompt" in row else ""
    return {key: start + row[key] for key in ("chosen", "rejected")}


def main():
    """Writes the first pairs of a file as whole texts."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    rows = read(args.data, args.pairs)
    if len(rows) < args.pairs:
        raise SystemExit(f"{args.data} holds {len(rows)} pairs, fewer than the {args.pairs} asked for")
    with open(args.out, "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
