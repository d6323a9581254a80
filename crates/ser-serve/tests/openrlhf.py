#!/usr/bin/env python3
"""A client of OpenRLHF's remote reward models: sends requests to the URL given, prints the rewards it reads as JSON.

OpenRLHF's own function is used where the package is installed (its module imports ray, too). Otherwise the same exchange
is made with requests, as openrlhf/utils/remote_rm_utils.py of OpenRLHF 0.8 makes it: POST of {"query", "prompts",
"labels"} as JSON, no authorization, an error for a status of 400 or more, `rewards` of the answer, and a tensor of it.
"""
import json
import sys


def own_client():
    """OpenRLHF's function, if it can be imported."""
    try:
        from openrlhf.utils.remote_rm_utils import remote_rm_fn
    except ImportError:
        return None
    return remote_rm_fn


def same_exchange(url, queries, prompts, labels):
    import requests
    import torch

    reply = requests.post(
        url=url,
        json={"query": queries, "prompts": prompts, "labels": labels},
        headers={"Content-Type": "application/json"},
        timeout=180,
    )
    reply.raise_for_status()
    reply = reply.json()
    # Newer versions read more than the rewards: tensors of `rewards` and `scores`, and a tensor for each of `extra_logs`.
    for key in ("rewards", "scores"):
        assert torch.tensor(reply[key]).shape == (len(queries),), reply
    for name, values in reply["extra_logs"].items():
        assert torch.tensor(values).dtype == torch.float32, name
    return torch.tensor(reply["rewards"])


def main():
    url = sys.argv[1]
    own = own_client()
    client = own or same_exchange
    queries, prompts, labels = ["four", "eight ch", ""], ["fo", "ei", ""], ["", "x", ""]
    rewards = client(url, queries[:2], prompts[:2], labels[:2])
    assert rewards.dim() == 1, rewards
    print(json.dumps({"own": own is not None, "rewards": rewards.tolist()}))


if __name__ == "__main__":
    main()
