#!/usr/bin/env python3
"""Nano checkpoints of every family with the scores and gradients that transformers and peft give on them.

Each folder here holds a checkpoint (config.json, model.safetensors, tokenizer.json), a PEFT adapter (adapter/) and
expected.json: texts, scores of the base and of the adapted model (one text at a time, f32), and, in grads.safetensors, the
gradient of sum(weight_i * score_i) by adapter and head.

  pip install torch==2.11.0 transformers==5.23.0 peft==0.21.2 safetensors
  python make_models.py
"""
import json, pathlib

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (AutoModelForSequenceClassification, LlamaConfig, MistralConfig, PreTrainedTokenizerFast,
                          Qwen2Config, Qwen3Config)

HERE = pathlib.Path(__file__).parent
SHAPE = dict(vocab_size=260, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.2, bos_token_id=0,
             eos_token_id=1, pad_token_id=1, num_labels=1)
CONFIGS = {
    "llama": LlamaConfig(**SHAPE, rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
    "llama3": LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters={
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}),
    "llama-linear": LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True,
                                rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}),
    "mistral": MistralConfig(**SHAPE, sliding_window=9),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16),
}
PAIRS = [
    ["Why is the sky blue? ", "Rayleigh scattering: short waves scatter most.", "It is."],
    ["", "A", "B"],
    ["Name three rivers of Europe, with their lengths in km. ", "The Volga (3,530), the Danube (2,850) and the Ural.",
     "Rhine, Rhône, and I do not know any other river at all, sorry."],
    ["q", "the same beginning, one end", "the same beginning, another end"],
]


def tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<s>": 0, "</s>": 1, **{c: i + 2 for i, c in enumerate(alphabet)}}
    tok = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(["<s>", "</s>"])
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def main():
    tok = tokenizer()
    for name, config in CONFIGS.items():
        folder = HERE / name
        torch.manual_seed(1)
        model = AutoModelForSequenceClassification.from_config(config).float().eval()
        for parameter in model.parameters():  # biases and norms away from 0 and 1, so that they count
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter, 0.5, 0.2)
        model.save_pretrained(folder)
        tok.save_pretrained(folder)
        texts = [prompt + answer for prompt, *answers in PAIRS for answer in answers]

        def scores(m):
            return [m(**tok(t, return_tensors="pt")).logits[0, 0] for t in texts]

        with torch.no_grad():
            base = [float(s) for s in scores(model)]
        lora = LoraConfig(task_type="SEQ_CLS", r=3, lora_alpha=6, lora_dropout=0.0,
                          target_modules=["q_proj", "v_proj", "down_proj"], modules_to_save=["score"])
        peft = get_peft_model(model, lora).eval()
        for n, parameter in peft.named_parameters():
            if "lora_B" in n or "modules_to_save" in n:
                torch.nn.init.normal_(parameter, 0.0, 0.2)
        adapted = scores(peft)
        weights = torch.randn(len(texts))
        sum(w * s for w, s in zip(weights, adapted)).backward()
        grads = {n.replace(".default", "").replace(".modules_to_save", ""): p.grad.contiguous()
                 for n, p in peft.named_parameters() if p.grad is not None}
        peft.save_pretrained(folder / "adapter")
        for extra in ["README.md"]:
            (folder / "adapter" / extra).unlink(missing_ok=True)
        save_file(grads, folder / "grads.safetensors")
        (folder / "expected.json").write_text(json.dumps({
            "pairs": PAIRS, "base": base, "adapted": [float(s) for s in adapted], "weights": weights.tolist()}, indent=1))


if __name__ == "__main__":
    main()
