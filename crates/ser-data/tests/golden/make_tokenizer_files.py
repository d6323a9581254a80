#!/usr/bin/env python3
"""Writes tokenizer_files.json: tokens of transformers' AutoTokenizer for the two tokenizers of make_tokens.py with other
files beside tokenizer.json, or with parts of tokenizer.json replaced.

    pip install transformers==5.23.0 tokenizers jinja2   (no torch needed)
    python make_tokenizer_files.py [FOLDER]

FOLDER contains real tokenizers as NAME.tokenizer.json.gz (gpt2, llama2, mistral-v0.2); their tokens go to real_tokens.json.
"""
import gzip
import json
import pathlib
import shutil
import sys
import tempfile

from transformers import AutoTokenizer

HERE = pathlib.Path(__file__).parent

TEXTS = [
    "Why does bread rise?",
    " two  spaces\n\nand lines\t",
    "It's <s> inside</s> <|im_end|> next <x> y<x>z  <x>  <pad> end",
    "<s>[INST] One [/INST] Two </s><s>[INST] Three [/INST] Four </s>",
    "cafe\u0301 na\u00efve \u4f60\u597d \U0001f600",
    "<|im_start|>user\nHi<|im_end|>\n",
    "",
]


def token(content, **flags):
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, **flags}


SPECIAL = {"0": token("<unk>", special=True), "1": token("<s>", special=True), "2": token("</s>", special=True)}
NAMES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
LLAMA = {"tokenizer_class": "LlamaTokenizer", **NAMES}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast", **NAMES}


def normalized(file):
    for added in file["added_tokens"]:
        added["normalized"] = True


def prefix_space(file):
    file["pre_tokenizer"]["add_prefix_space"] = True


def variants():
    fallback, level = "byte_fallback", "byte_level"
    config = lambda *parts: {"tokenizer_config.json": {key: value for part in parts for key, value in part.items()}}
    decoder = lambda **more: {"added_tokens_decoder": {**SPECIAL, **more}}
    yield "llama, flags of the file wrong", fallback, config(LLAMA, decoder()), normalized
    yield "llama, legacy", fallback, config(LLAMA, decoder(), {"legacy": True}), None
    yield "llama, not legacy", fallback, config(LLAMA, decoder(), {"legacy": False}), None
    yield "llama, legacy null", fallback, config(LLAMA, decoder(), {"legacy": None}), None
    yield "llama, no prefix space", fallback, config(LLAMA, decoder(), {"add_prefix_space": False}), None
    yield "llama, fast class", fallback, config({**LLAMA, "tokenizer_class": "LlamaTokenizerFast"}), None
    yield "llama, nothing named", fallback, config({"tokenizer_class": "LlamaTokenizer"}), normalized
    yield "llama, add_bos and add_eos", fallback, config(LLAMA, decoder(), {"add_bos_token": False, "add_eos_token": True}), None
    yield "llama, model of the type llama", fallback, {**config(LLAMA, decoder()), "config.json": {"model_type": "llama"}}, normalized
    yield "llama class, mistral model", fallback, {**config(LLAMA, decoder()), "config.json": {"model_type": "mistral"}}, normalized
    yield "llama class, byte level file", level, config({"tokenizer_class": "LlamaTokenizer"}), None
    yield "no class, llama model", fallback, {**config(NAMES), "config.json": {"model_type": "llama"}}, None
    yield "file, flags wrong in tokenizer.json", fallback, config(FAST, decoder()), normalized
    yield "file, flags wrong and not listed", fallback, config(FAST), normalized
    for flag in ("lstrip", "rstrip", "single_word", "normalized", "special"):
        added = token("<x>", **{"special": False, flag: True})
        yield f"file, {flag}", fallback, config(FAST, decoder(**{"480": added})), None
        yield f"llama, {flag}", fallback, config(LLAMA, decoder(**{"480": added})), None
        yield f"byte level, {flag}", level, config(FAST, {"added_tokens_decoder": {"422": added}}), None
    yield "file, all flags", fallback, config(FAST, decoder(**{"480": token("<x>", lstrip=True, rstrip=True, single_word=True, special=True)})), None
    yield "special token strips", fallback, config(FAST, {"added_tokens_decoder": {**SPECIAL, "2": token("</s>", lstrip=True, rstrip=True, special=True)}}), None
    yield "split special tokens", fallback, config(FAST, decoder(), {"split_special_tokens": True}), None
    yield "llama, split special tokens", fallback, config(LLAMA, decoder(), {"split_special_tokens": True}), None
    yield "pad token as a string", fallback, config(FAST, {"pad_token": "<pad>"}), None
    yield "pad token as an object", fallback, config(FAST, {"pad_token": {"__type": "AddedToken", **token("<pad>", lstrip=True)}}), None
    yield "pad token listed", fallback, config(FAST, {"pad_token": "<pad>"}, decoder(**{"480": token("<pad>", rstrip=True)})), None
    yield "extra special tokens", fallback, config(FAST, {"extra_special_tokens": ["<x>", "<pad>"]}), None
    yield "additional special tokens", fallback, config(FAST, {"additional_special_tokens": ["<x>"]}), None
    yield "named extra tokens", fallback, config(FAST, {"extra_special_tokens": {"image_token": "<x>"}}), None
    yield "a token of its own name", fallback, config(FAST, {"image_token": "<x>"}), None
    yield "map before config", fallback, {**config(FAST), "special_tokens_map.json": {"pad_token": token("<pad>", rstrip=True), "eos_token": "<x>"}}, None
    yield "map beside a list", fallback, {**config(FAST, decoder()), "special_tokens_map.json": {"pad_token": "<pad>"}}, None
    yield "map with additional tokens", fallback, {**config(FAST), "special_tokens_map.json": {"additional_special_tokens": ["<x>"]}}, None
    yield "map with extra tokens", fallback, {**config(FAST, {"extra_special_tokens": ["<pad>"]}), "special_tokens_map.json": {"extra_special_tokens": ["<x>"]}}, None
    yield "added_tokens.json", fallback, {**config(FAST), "added_tokens.json": {"<x>": 480, "<pad>": 481}}, None
    yield "added_tokens.json, special", fallback, {**config(FAST, {"pad_token": "<pad>"}), "added_tokens.json": {"<pad>": 480, "<x>": 481}}, None
    yield "added_tokens.json beside a list", fallback, {**config(FAST, decoder()), "added_tokens.json": {"<x>": 480}}, None
    yield "llama, added_tokens.json", fallback, {**config(LLAMA), "added_tokens.json": {"<x>": 480}}, None
    yield "byte level file with prefix space", level, config(FAST), prefix_space
    yield "gpt2 class", level, config({"tokenizer_class": "GPT2Tokenizer"}), None
    yield "gpt2 class, prefix space", level, config({"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": True}), None
    yield "gpt2 class, file with prefix space", level, config({"tokenizer_class": "GPT2Tokenizer"}), prefix_space
    yield "file, prefix space asked", level, config({"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": True}), None
    yield "qwen2 class", level, config({"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}), None
    yield "qwen2 model, llama class", level, {**config({"tokenizer_class": "LlamaTokenizer"}), "config.json": {"model_type": "qwen2"}}, None
    yield "qwen2 model, file class", level, {**config({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}), "config.json": {"model_type": "qwen2"}}, None
    yield "qwen3 model, file class", level, {**config({"tokenizer_class": "PreTrainedTokenizerFast"}), "config.json": {"model_type": "qwen3"}}, None
    yield "qwen3 model, no class", level, {**config({}), "config.json": {"model_type": "qwen3"}}, None
    yield "class of config.json", level, {**config({}), "config.json": {"model_type": "llama", "tokenizer_class": "GPT2Tokenizer"}}, prefix_space


def real(shared):
    chat = "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
    messages = [{"role": role, "content": content} for role, content in zip(("user", "assistant") * 2, ("One", "Two", "Three", "Four"))]
    listed = {"added_tokens_decoder": SPECIAL, "chat_template": chat}
    cases = [
        ("llama2", {"tokenizer_config.json": {**LLAMA, **listed}}, True),
        ("llama2", {"tokenizer_config.json": {**LLAMA, **listed, "legacy": True}}, True),
        ("llama2", {"tokenizer_config.json": {**FAST, **listed}}, True),
        ("llama2", {"tokenizer_config.json": {**FAST, "chat_template": chat}}, True),
        ("mistral-v0.2", {"tokenizer_config.json": {**LLAMA, **listed, "legacy": True}, "config.json": {"model_type": "mistral"}}, False),
        ("gpt2", {"tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True, "chat_template": chat}}, False),
        ("gpt2", {"tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "chat_template": chat}, "config.json": {"model_type": "gpt2"}}, False),
    ]
    golden = []
    for name, files, edit in cases:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            file = json.loads(gzip.open(shared / f"{name}.tokenizer.json.gz").read())
            if edit:
                normalized(file)
            for path, content in {**files, "tokenizer.json": file}.items():
                (folder / path).write_text(json.dumps(content), encoding="utf-8")
            tokenizer = AutoTokenizer.from_pretrained(folder)
            chat_ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
            golden.append({"tokenizer": name, "files": files, "normalized": edit, "chat": list(chat_ids),
                           "ids": [tokenizer(text)["input_ids"] for text in TEXTS]})
    (HERE / "real_tokens.json").write_text(json.dumps({"texts": TEXTS, "messages": messages, "cases": golden}, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    golden = []
    for name, base, files, edit in variants():
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            file = json.loads((HERE / base / "tokenizer.json").read_text(encoding="utf-8"))
            file["truncation"] = file["padding"] = None
            if edit:
                edit(file)
                files = {**files, "tokenizer.json": file}
            else:
                shutil.copy(HERE / base / "tokenizer.json", folder)
            for path, content in files.items():
                (folder / path).write_text(json.dumps(content), encoding="utf-8")
            try:
                tokenizer = AutoTokenizer.from_pretrained(folder)
            except Exception as error:
                print(f"{name}: {type(error).__name__}: {error}")
                continue
            plain = {"padding": False, "truncation": False}
            # The edits are named: tokenizer.json need not be kept.
            files.pop("tokenizer.json", None)
            golden.append({
                "name": name, "base": base, "files": files, "edit": edit.__name__ if edit else None,
                "bos_id": tokenizer.bos_token_id, "eos_id": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id,
                "length": len(tokenizer), "ids": [tokenizer(text, **plain)["input_ids"] for text in TEXTS],
                "decoded": [tokenizer.decode(tokenizer(text, **plain)["input_ids"], skip_special_tokens=True) for text in TEXTS]})
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in golden)
    out = f'{{"texts": {json.dumps(TEXTS, ensure_ascii=False)},\n"folders": [\n{lines}\n]}}\n'
    (HERE / "tokenizer_files.json").write_text(out, encoding="utf-8")


if __name__ == "__main__":
    main()
    if len(sys.argv) > 1:
        real(pathlib.Path(sys.argv[1]))
