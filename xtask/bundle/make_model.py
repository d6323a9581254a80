#!/usr/bin/env python3
"""Writes a random-weight Llama in bfloat16: config.json, tokenizer.json, safetensors in several files.

Weights are drawn on the GPU if there is one. The tokenizer is a byte-level BPE trained on the texts of a preference file, so that
token counts are realistic; the embedding has as many rows as it has tokens, and is tied. Prints one line of JSON.
"""
import argparse
import concurrent.futures
import json
import pathlib
import time

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import preferences

SIZES = {  # hidden, layers, heads, key/value heads, feed-forward
    "nano": (64, 2, 4, 2, 176),
    "tiny": (256, 4, 8, 4, 688),
    "1b": (2048, 16, 32, 8, 8192),
    "8b": (4096, 32, 32, 8, 14336),
}
# Bytes of a file of weights; files are written by several threads.
SHARD = 2 << 30
THREADS = 6


def tokenizer(texts, vocabulary, out):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocabulary, show_progress=False, special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    bpe.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>", "eos_token": "<|end|>",
        "pad_token": "<|end|>", "model_max_length": 4096}))
    return bpe.get_vocab_size()


def shapes(size, vocabulary):
    """Names and shapes of all tensors, under transformers' names."""
    hidden, layers, heads, kv_heads, inner = SIZES[size]
    q, kv = hidden, hidden // heads * kv_heads
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}"
        for name, shape in (("self_attn.q_proj", (q, hidden)), ("self_attn.k_proj", (kv, hidden)),
                            ("self_attn.v_proj", (kv, hidden)), ("self_attn.o_proj", (hidden, q)),
                            ("mlp.gate_proj", (inner, hidden)), ("mlp.up_proj", (inner, hidden)),
                            ("mlp.down_proj", (hidden, inner)), ("input_layernorm", (hidden,)),
                            ("post_attention_layernorm", (hidden,))):
            yield f"{at}.{name}.weight", shape
    yield "model.norm.weight", (hidden,)


def plan(size, vocabulary):
    """The tensors of each file."""
    files, taken = [[]], 0
    for name, shape in shapes(size, vocabulary):
        length = 2 * torch.Size(shape).numel()
        if taken + length > SHARD and files[-1]:
            files.append([])
            taken = 0
        files[-1].append((name, shape, length))
        taken += length
    return files


def write(path, tensors, seed, device):
    """One safetensors file: the length of the header, the header, the tensors."""
    header, offset = {}, 0
    for name, shape, length in tensors:
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + length]}
        offset += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = torch.Generator(device).manual_seed(seed)
    with open(path, "wb", buffering=0) as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for _, shape, _ in tensors:
            if len(shape) == 1:
                tensor = torch.ones(shape, dtype=torch.bfloat16)
            else:
                tensor = torch.randn(shape, generator=generator, device=device, dtype=torch.bfloat16).mul_(0.02).cpu()
            left = memoryview(tensor.view(torch.uint8).numpy().reshape(-1))
            while left:
                left = left[out.write(left):]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--size", choices=SIZES, required=True)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.perf_counter()

    args.out.mkdir(parents=True)
    rows = preferences.read(args.data)
    vocabulary = tokenizer([row[key] for row in rows for key in ("chosen", "rejected")], args.vocab, args.out)
    hidden, layers, heads, kv_heads, inner = SIZES[args.size]
    (args.out / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocabulary, "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": hidden // heads, "hidden_act": "silu",
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": True,
        "attention_bias": False, "mlp_bias": False, "initializer_range": 0.02, "bos_token_id": 0, "eos_token_id": 1,
        "pad_token_id": 1, "dtype": "bfloat16", "torch_dtype": "bfloat16"}, indent=2))
    tokenized = time.perf_counter() - start

    device = "cuda" if torch.cuda.is_available() else "cpu"
    files = plan(args.size, vocabulary)
    names = [f"model-{i + 1:05}-of-{len(files):05}.safetensors" for i in range(len(files))]
    if len(files) == 1:
        names = ["model.safetensors"]
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        jobs = [pool.submit(write, args.out / name, tensors, args.seed * 1000 + i, device)
                for i, (name, tensors) in enumerate(zip(names, files))]
        for job in jobs:
            job.result()
    total = sum(length for tensors in files for _, _, length in tensors)
    if len(files) > 1:
        (args.out / "model.safetensors.index.json").write_text(json.dumps({
            "metadata": {"total_size": total},
            "weight_map": {tensor: name for name, tensors in zip(names, files) for tensor, _, _ in tensors}}))
    print(json.dumps({"size": args.size, "hidden": hidden, "layers": layers, "heads": heads, "kv_heads": kv_heads,
                      "feed_forward": inner, "vocabulary": vocabulary, "weights": total // 2, "files": len(files),
                      "tokenizer_s": round(tokenized, 2), "seconds": round(time.perf_counter() - start, 2)}))


if __name__ == "__main__":
    main()
