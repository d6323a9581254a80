"""Preference files in the layout of HH-RLHF: a JSON object per line with `chosen` and `rejected`, whole texts."""
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
            rows.append(json.loads(line))
    return rows
