#!/usr/bin/env python3
"""GGUF files with what Python's gguf, transformers and tokenizers make of them.

  quants.gguf         random blocks of every storage type, and beside each tensor NAME its numbers as `NAME.expected`
                      (gguf.quants.dequantize), in F32
  FAMILY.gguf         the checkpoint of ../FAMILY as llama.cpp's converter writes it (names, q and k interleaved for llama,
                      rope_freqs for llama3), Q8_0 and F16; the tokenizer of that folder
  networks.json       by family: pairs' texts' log-probabilities by transformers' causal model with these numbers.
                      Where transformers reads the GGUF file itself, both ways are checked to agree.
  tokens-KIND.gguf    a tokenizer and no tensors
  tokens.json         the texts, and by kind their ids by Hugging Face's tokenizers, with and without special tokens

  pip install torch==2.11.0 transformers==5.23.0 gguf==0.19.0 safetensors regex
  python make_gguf.py STORIES260K/tokenizer.json
  python make_gguf.py --tokenizers DIR FILE...   # tokens-NAME.gguf and tokens.json in DIR, from the tokenizer.json files
                                                 # of Llama 2, Mistral or GPT-2, packed or not; SER_GGUF=DIR cargo test
"""
import gzip, json, pathlib, sys

import gguf, numpy as np, regex, torch
from gguf import GGMLQuantizationType as T, TokenType
from safetensors.numpy import load_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
FAMILIES = ["llama", "llama-linear", "llama3", "mistral", "qwen2", "qwen3", "qwen3-yarn"]
TYPES = [T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K]


def close(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# ---- storage types

def quants():
    rng = np.random.default_rng(7)
    w = gguf.GGUFWriter(HERE / "quants.gguf", "llama")
    for kind in TYPES:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        rows, numbers = 3, 512
        raw = rng.integers(0, 256, (rows, numbers // block, size), dtype=np.uint8)
        # Scales are finite halves: the byte offsets of scales in a block.
        half = {T.F16: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82],
                T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}.get(kind, [])
        for offset in half:
            scales = (rng.standard_normal((rows, numbers // block, 1)) * 0.05).astype(np.float16)
            scales[0, 0] = [6e-8] if offset % 4 else [-3e-6]  # subnormal
            raw[..., offset:offset + 2] = scales.view(np.uint8)
        if kind == T.F32:
            raw = rng.standard_normal((rows, numbers)).astype(np.float32).view(np.uint8)
        if kind == T.BF16:
            raw = gguf.quants.quantize(rng.standard_normal((rows, numbers)).astype(np.float32), kind).view(np.uint8)
        raw = raw.reshape(rows, -1)
        w.add_tensor(kind.name, raw, raw_dtype=kind)
        w.add_tensor(kind.name + ".expected", gguf.quants.dequantize(raw, kind).astype(np.float32).reshape(rows, numbers))
    close(w)


# ---- networks

WITHIN = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
          "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
          "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
          "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    module, part = name.rsplit(".", 1)
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    if module in top:
        return f"{top[module]}.{part}"
    _, _, layer, module = module.split(".", 3)
    return f"blk.{layer}.{WITHIN[module]}.{part}"


def permute(weights, heads):
    """As llama.cpp's converter does to q and k of a Llama."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def unpermute(weights, heads):
    return weights.reshape(heads, weights.shape[0] // heads // 2, 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def add_settings(w, config, head_dim):
    rope = config["rope_parameters"]
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_block_count(config["num_hidden_layers"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"])
    w.add_head_count_kv(config["num_key_value_heads"])
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    w.add_rope_freq_base(rope["rope_theta"])
    w.add_rope_dimension_count(head_dim)
    w.add_vocab_size(config["vocab_size"])
    if head_dim != config["hidden_size"] // config["num_attention_heads"]:
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if config["model_type"] == "mistral":
        w.add_sliding_window(config["sliding_window"])
    if rope["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def rope_factors(rope, head_dim):
    """As llama.cpp's converter computes rope_freqs.weight of a Llama 3."""
    freqs = 1.0 / rope["rope_theta"] ** (torch.arange(0, head_dim, 2).float() / head_dim)
    low, high, old = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    factors = []
    for freq in freqs:
        wave = 2 * torch.pi / freq
        if wave < old / high:
            factors.append(1.0)
        elif wave > old / low:
            factors.append(rope["factor"])
        else:
            smooth = (old / wave - low) / (high - low)
            factors.append(float(1 / ((1 - smooth) / rope["factor"] + smooth)))
    return np.array(factors, dtype=np.float32)


def add_tokenizer(w, folder, config):
    file = json.loads((folder / "tokenizer.json").read_text())
    tokens = sorted(file["model"]["vocab"].items(), key=lambda item: item[1])
    special = {token["content"] for token in file["added_tokens"]}
    kinds = [TokenType.CONTROL if token in special else TokenType.NORMAL for token, _ in tokens]
    names = [token for token, _ in tokens]
    while len(names) < config["vocab_size"]:  # as the converter pads
        names.append(f"[PAD{len(names)}]")
        kinds.append(TokenType.UNUSED)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(names)
    w.add_token_types(kinds)
    w.add_bos_token_id(config["bos_token_id"])
    w.add_eos_token_id(config["eos_token_id"])
    w.add_add_bos_token(True)


def network(family):
    folder = HERE.parent / family
    config = json.loads((folder / "config.json").read_text())
    arch = "llama" if config["model_type"] == "mistral" else config["model_type"]
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    state = {name: value for name, value in load_file(folder / "model.safetensors").items() if name != "score.weight"}
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    path = HERE / f"{family}.gguf"
    w = gguf.GGUFWriter(path, arch)
    w.add_name(family)
    add_settings(w, config, head_dim)
    add_tokenizer(w, folder, config)
    if config["rope_parameters"]["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", rope_factors(config["rope_parameters"], head_dim))
    read = {}
    for name, value in state.items():
        stored = gguf_name(name)
        permuted = heads.get(stored.split(".")[2] if stored.startswith("blk.") else "") if arch == "llama" else None
        if permuted:
            value = permute(value, permuted)
        if value.ndim == 1:
            w.add_tensor(stored, value)
        elif value.shape[1] % 32:
            w.add_tensor(stored, value.astype(np.float16))
            value = value.astype(np.float16).astype(np.float32)
        else:
            raw = gguf.quants.quantize(value, T.Q8_0)
            w.add_tensor(stored, raw, raw_dtype=T.Q8_0)
            value = gguf.quants.dequantize(raw, T.Q8_0)
        read[name] = torch.from_numpy(np.ascontiguousarray(unpermute(value, permuted) if permuted else value))
    close(w)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).float().eval()
    missing, unexpected = model.load_state_dict(read, strict=False)
    assert not unexpected and all("lm_head" in name for name in missing), (missing, unexpected)
    model.tie_weights()
    expected = json.loads((folder / "expected.json").read_text())
    tok = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    texts = [tok(prompt + answer, return_tensors="pt")["input_ids"] for prompt, *ab in expected["pairs"] for answer in ab]
    with torch.no_grad():
        logits = [model(input_ids=ids).logits[0] for ids in texts]
        # transformers 5.23 leaves windows, scalings and biases of a GGUF file out, and head sizes of Qwen 3 too.
        if family in ["llama", "qwen2"]:
            own = AutoModelForCausalLM.from_pretrained(HERE, gguf_file=path.name, dtype=torch.float32).eval()
            worst = max(float((own(input_ids=ids).logits[0] - a).abs().max()) for ids, a in zip(texts, logits))
            print(f"{family}: transformers on the file itself differs by {worst:.1e}")
            assert worst < 1e-5
    logprobs = [[round(float(v), 7) for v in row[:-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]]
                for ids, row in zip(texts, logits)]
    return {"ids": [ids[0].tolist() for ids in texts], "logprobs": logprobs}


# ---- tokenizers

TEXTS = [
    "", " ", "  ", "a", " a", "  a", "a ", "a  ", "\n", "\n\n", " \n a\n\n\nb", "\t\tx\t", "Hello world", "Hello, world!!",
    "Once upon a time, there was a little girl named Lily.", "I'm, you're, WE'LL, it'S; don't 'quote' ''", "a1b22c333d4444e55555",
    "3.14159 and 1,000,000 (12%)", "x = y[0] + f(z) # comment", "https://example.org/a?b=c&d=e", "naïve café", "cafe\u0301 A\u030a",
    "Ω ≈ ç √ ∫ µ", "你好，世界", "こんにちは", "한국어 텍스트", "Привет, мир", "שלום עולם", "🙂🙃 👩‍👩‍👧", "\u200b\u00a0\u3000x", "²½Ⅷ٣",
    "camelCaseWORDSandMore ABCdef", "$+<=>^~|` ~~~ ---", "__init__", "\u2581\u2581 x \u2581", "<s>hi</s>", "a<|end|>b", "x<tool>y", " <s> hi",
    "<0x41>", "\u0000\u0001\u007f", "a\r\nb\r\n", "tab\tnew\nline ", "AAAAAAAAAAAAAAAAAAAAAAAA", "    indented\n        more", "l'été d'Éric",
    "the the the the", " 1 22 333", "e\u0301\u0301x",
]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASES = [rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*"]
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


# What the tokenizer.json of these models has.
BYTE_LEVEL = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                       pre_tokenizers.ByteLevel(add_prefix_space=False)]),
    "llama-bpe": split(LETTERS + r"|\p{N}{1,3}" + REST),
    "qwen2": split(LETTERS + r"|\p{N}" + REST),
    "tekken": split("|".join(CASES) + r"|\p{N}" + TAIL),
    "gpt-4o": split("|".join(case + SHORT for case in CASES) + r"|\p{N}{1,3}" + TAIL),
    "default": None,
}


def llama_cpp_split(text, patterns):
    """llama.cpp's unicode_regex_split: each pattern splits every piece into its matches and what lies between them."""
    pieces = [text]
    for pattern in patterns:
        parts = []
        for piece in pieces:
            at = 0
            for match in regex.finditer(pattern, piece):
                parts += [piece[at:match.start()], match.group()]
                at = match.end()
            parts.append(piece[at:])
        pieces = [part for part in parts if part]
    return pieces


def byte_level_vocabulary():
    """One vocabulary for all kinds, with merges across digits, punctuation and spaces."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = split(r"\S+ ?|\s+")
    corpus = TEXTS + ["the cat sat on the mat, and the dog didn't", "12 123 1234 12345 100 200 300", "!!! ??? ... +++ === <=>",
                      "Hello HELLO hello Lily girl time once upon", "café été naïve", " the and was little"] * 3
    tok.train_from_iterator(corpus * 2, trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<s>", "</s>", "<|end|>"],
        show_progress=False))
    file = json.loads(tok.to_str())["model"]
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in file["merges"]]
    vocab = dict(file["vocab"])
    vocab["<tool>"] = len(vocab)
    return vocab, merges


def ids(tok):
    return [[tok.encode(text, add_special_tokens=special).ids for special in [True, False]] for text in TEXTS]


def byte_level(kind, vocab, merges):
    bos = kind in ["llama-bpe", "tekken"]
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=bos))
    if kind == "default":
        patterns = [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"]
        whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        encode = lambda text: [id for piece in llama_cpp_split(text, patterns)  # noqa: E731
                               for id in Tokenizer.encode(tok, piece, add_special_tokens=False).ids]
        tok.pre_tokenizer = whole
    else:
        tok.pre_tokenizer = BYTE_LEVEL[kind]
    if kind == "qwen2":
        tok.normalizer = normalizers.NFC()
    tok.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in ["<s>", "</s>", "<|end|>"]])
    tok.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    if bos:
        tok.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)])
    w = gguf.GGUFWriter(HERE / f"tokens-{kind}.gguf", "llama")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(kind)
    names = [token for token, _ in sorted(vocab.items(), key=lambda item: item[1])]
    w.add_token_list(names)
    w.add_token_types([TokenType.CONTROL if name in ["<s>", "</s>", "<|end|>"] else
                       TokenType.USER_DEFINED if name == "<tool>" else TokenType.NORMAL for name in names])
    w.add_token_merges([" ".join(merge) for merge in merges])
    w.add_bos_token_id(0)
    w.add_eos_token_id(1)
    w.add_eot_token_id(2)
    w.add_chat_template("{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}")
    close(w)
    if kind != "default":
        return ids(tok)
    # Special tokens are cut out first.
    cut = regex.compile(r"(<s>|</s>|<\|end\|>|<tool>)")
    found = []
    for text in TEXTS:
        parts = [vocab[part] if cut.fullmatch(part) else encode(part) for part in cut.split(text) if part]
        flat = [id for part in parts for id in (part if isinstance(part, list) else [part])]
        found.append([flat, flat])
    return found


def sentencepiece(source, path):
    """A tokenizer.json with byte fallback as SentencePiece's model: scores go by the order of the merges."""
    file = read_tokenizer(source)
    vocab, merges = file["model"]["vocab"], file["model"]["merges"]
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges]
    rank = {}
    for index, (left, right) in enumerate(merges):
        rank.setdefault(left + right, index)
    names = [token for token, _ in sorted(vocab.items(), key=lambda item: item[1])]
    special = {token["content"]: token for token in file["added_tokens"]}
    def kind(token):
        if token == "<unk>":
            return TokenType.UNKNOWN
        if token in special:
            return TokenType.CONTROL
        return TokenType.BYTE if regex.fullmatch(r"<0x[0-9A-F]{2}>", token) else TokenType.NORMAL
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(names)
    w.add_token_scores([float(-rank.get(token, len(merges) + id)) if kind(token) == TokenType.NORMAL else 0.0
                        for id, token in enumerate(names)])
    w.add_token_types([kind(token) for token in names])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    close(w)
    return ids(Tokenizer.from_str(json.dumps(file)))


def read_tokenizer(path):
    packed = pathlib.Path(path).read_bytes()
    file = json.loads(gzip.decompress(packed) if packed.startswith(b"\x1f\x8b") else packed)
    for token in file["added_tokens"]:  # Llama 2's file has true, with which "</s>" is not found after a text
        token["normalized"] = False
    return file


def gpt2(source, path):
    file = read_tokenizer(source)
    special = {token["content"] for token in file["added_tokens"]}
    names = [token for token, _ in sorted(file["model"]["vocab"].items(), key=lambda item: item[1])]
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(names)
    w.add_token_types([TokenType.CONTROL if name in special else TokenType.NORMAL for name in names])
    w.add_token_merges([" ".join(merge) if isinstance(merge, list) else merge for merge in file["model"]["merges"]])
    w.add_bos_token_id(names.index("<|endoftext|>"))
    w.add_eos_token_id(names.index("<|endoftext|>"))
    close(w)
    return ids(Tokenizer.from_str(json.dumps(file)))


def given(folder, files):
    expected = {}
    for file in map(pathlib.Path, files):
        name = file.name.split(".")[0]
        make = sentencepiece if read_tokenizer(file)["model"]["byte_fallback"] else gpt2
        expected[name] = make(file, folder / f"tokens-{name}.gguf")
    (folder / "tokens.json").write_text(json.dumps({"texts": TEXTS, "ids": expected}))


def tokens(stories):
    vocab, merges = byte_level_vocabulary()
    expected = {kind: byte_level(kind, vocab, merges) for kind in BYTE_LEVEL}
    expected["spm"] = sentencepiece(stories, HERE / "tokens-spm.gguf")
    (HERE / "tokens.json").write_text(json.dumps({"texts": TEXTS, "ids": expected}, separators=(",", ":")) + "\n")


def main():
    if sys.argv[1] == "--tokenizers":
        return given(pathlib.Path(sys.argv[2]), sys.argv[3:])
    torch.manual_seed(1)
    quants()
    found = {family: network(family) for family in FAMILIES}
    (HERE / "networks.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")
    tokens(sys.argv[1])  # the tokenizer.json of a small Llama with byte fallback: stories260k


if __name__ == "__main__":
    main()
