#!/usr/bin/env python3
"""Nano checkpoints of every family with what transformers and peft make of them.

Each folder contains a checkpoint (config.json, model.safetensors, tokenizer.json), a PEFT adapter (adapter/), and
expected.json, all computed one text at a time in f32 but where it says otherwise:

  pairs            prompt, answer A, answer B; the texts are prompt + A and prompt + B
  base, adapted    scores of AutoModelForSequenceClassification without and with the adapter
  bf16, f16        largest distance of the adapted scores from the f32 ones when transformers computes in these
  weights          of the sum of scores whose gradient by adapter and head is in grads.safetensors
  logprobs         of each text's tokens after the first, by AutoModelForCausalLM on the same weights, without the adapter
  values           of each text's tokens, by a head sin(0), sin(1), ... with bias 0.5 on the hidden states
  greedy           the 20 most likely tokens after the first text, each with those before it

  pip install torch==2.11.0 transformers==5.23.0 peft==0.21.2 safetensors
  python make_models.py                     # the folders beside this file
  python make_models.py llama-dora          # those named
  python make_models.py --random 50 DIR     # as many random configurations into DIR; SER_GOLDENS=DIR cargo test
"""
import json, pathlib, random, sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig, MinistralConfig,
                          MistralConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen3Config)

HERE = pathlib.Path(__file__).parent
SHAPE = dict(vocab_size=260, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.2, bos_token_id=0,
             eos_token_id=1, pad_token_id=1, num_labels=1)
LORA = dict(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"])
LORAS = {"llama-dora": {**LORA, "use_dora": True},
         "mistral-layers": dict(r=2, lora_alpha=6, target_modules=["q_proj", "up_proj"], layers_to_transform=[1])}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE, rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
    "llama3": LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters={
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}),
    "llama-linear": LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True,
                                rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}),
    "llama-dynamic": LlamaConfig(**{**SHAPE, "max_position_embeddings": 60}, tie_word_embeddings=True, rope_parameters={
        "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}),
    "mistral": MistralConfig(**SHAPE, sliding_window=9),
    "llama-dora": LlamaConfig(**SHAPE, attention_bias=True),
    # Saved as a Mistral with layer_types, which transformers loads as a Ministral.
    "mistral-layers": MinistralConfig(**SHAPE, head_dim=8, sliding_window=9, layer_types=["full_attention", "sliding_attention"]),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen2-windows": Qwen2Config(**SHAPE, tie_word_embeddings=True, use_sliding_window=True, sliding_window=7,
                                 max_window_layers=1),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16),
    "qwen3-yarn": Qwen3Config(**SHAPE, head_dim=8, tie_word_embeddings=True, rope_parameters={
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}),
}
PAIRS = [
    ["Why is the sky blue? ", "Rayleigh scattering: short waves scatter most.", "It is."],
    ["", "A", "B"],
    ["Name three rivers of Europe, with their lengths in km. ", "The Volga (3,530), the Danube (2,850) and the Ural.",
     "Rhine, Rhône, and I do not know any other river at all, sorry."],
    ["q", "the same beginning, one end", "the same beginning, another end"],
]


def random_config(rng):
    """Head counts, widths, biases, windows, rope and ids that are not in CONFIGS."""
    kv, groups, dim = rng.choice([1, 2, 3]), rng.choice([1, 2, 4]), rng.choice([2, 6, 8, 10, 20])
    heads = kv * groups
    family = rng.choice([LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config])
    hidden = heads * rng.choice([4, 5, 7])
    rope = rng.choice([
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": rng.uniform(1, 5)},
        {"rope_type": "dynamic", "factor": rng.uniform(2, 5)},
        {"rope_type": "llama3", "factor": rng.uniform(2, 9), "low_freq_factor": rng.uniform(0.5, 1.5),
         "high_freq_factor": rng.uniform(2, 5), "original_max_position_embeddings": rng.choice([16, 50, 100])},
        {"rope_type": "yarn", "factor": rng.uniform(1, 9), "original_max_position_embeddings": rng.choice([16, 50, 100]),
         **rng.choice([{}, {"attention_factor": 0.8}, {"beta_fast": 20.0, "beta_slow": 2.0},
                       {"mscale": 0.7, "mscale_all_dim": 1.3}, {"truncate": False}])},
    ])
    if rope["rope_type"] == "dynamic":
        dim = max(dim, 6)  # transformers divides by dim - 2
    rope["rope_theta"] = rng.choice([500.0, 10000.0, 1e6])
    fields = dict(
        vocab_size=rng.choice([260, 261, 299]), hidden_size=hidden, intermediate_size=rng.choice([7, 30, 65]),
        num_hidden_layers=rng.choice([1, 2, 3]), num_attention_heads=heads, num_key_value_heads=kv, head_dim=dim,
        max_position_embeddings=rng.choice([60, 131]) if rope["rope_type"] == "dynamic" else rng.choice([131, 256]),
        initializer_range=0.25, rms_norm_eps=rng.choice([1e-6, 1e-5, 1e-3]), bos_token_id=0, eos_token_id=1,
        pad_token_id=rng.choice([1, 0, 259]), num_labels=1, tie_word_embeddings=rng.random() < 0.5, rope_parameters=rope)
    if family in (LlamaConfig, Qwen3Config):
        fields["attention_bias"] = rng.random() < 0.5
    if family is LlamaConfig:
        fields["mlp_bias"] = rng.random() < 0.5
    if family is MistralConfig:
        fields["sliding_window"] = rng.choice([None, 1, 5, 40])
    if family in (Qwen2Config, Qwen3Config):
        fields.update(use_sliding_window=rng.random() < 0.6, sliding_window=rng.choice([3, 20]),
                      max_window_layers=rng.choice([0, 1, 2]))
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = dict(
        r=rng.choice([1, 2, 5]), lora_alpha=rng.choice([1, 8]), use_rslora=rng.random() < 0.3,
        target_modules=rng.choice([rng.sample(names, 3), "all-linear", r".*\.0\..*(q|up)_proj", ["self_attn.o_proj"]]),
        bias=rng.choice(["none", "none", "all", "lora_only"]),
        rank_pattern=rng.choice([{}, {"q_proj": 4}]), alpha_pattern=rng.choice([{}, {r".*\.mlp\..*": 3}]))
    return family(**fields), lora


def tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<s>": 0, "</s>": 1, **{c: i + 2 for i, c in enumerate(alphabet)}}
    tok = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(["<s>", "</s>"])
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def rounded(values):
    return [round(float(v), 7) for v in values]


def causal(folder, texts):
    """logprobs, values and greedy tokens of the folder's checkpoint."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    logprobs, values = [], []
    for ids in texts:
        out = model(input_ids=ids, output_hidden_states=True)
        next_tokens = out.logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        logprobs.append(rounded(next_tokens))
        hidden = out.hidden_states[-1][0]
        values.append(rounded(hidden @ torch.sin(torch.arange(hidden.shape[-1]).float()) + 0.5))
    greedy, ids = [], texts[0]
    for _ in range(20):
        greedy.append(int(model(input_ids=ids, use_cache=False).logits[0, -1].argmax()))
        ids = torch.cat([ids, torch.tensor([[greedy[-1]]])], 1)
    return dict(logprobs=logprobs, values=values, greedy=greedy)


def make(folder, config, lora, tok):
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_config(config).float().eval()
    for parameter in model.parameters():  # biases and norms away from 0 and 1, so that they count
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.2)
    model.save_pretrained(folder)
    if isinstance(config, MinistralConfig):
        file = folder / "config.json"
        file.write_text(file.read_text().replace('"model_type": "ministral"', '"model_type": "mistral"'))
    tok.save_pretrained(folder)
    texts = [tok(prompt + answer, return_tensors="pt")["input_ids"] for prompt, *answers in PAIRS for answer in answers]

    def scores(m):
        return [m(input_ids=ids).logits[0, 0].float() for ids in texts]

    with torch.no_grad():
        base = [float(s) for s in scores(model)]
    peft = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", lora_dropout=0.0, modules_to_save=["score"],
                                            **lora)).eval()
    for n, parameter in peft.named_parameters():
        if "lora_B" in n or "modules_to_save" in n:
            torch.nn.init.normal_(parameter, 0.0, 0.2)
        if "lora_magnitude_vector" in n:
            parameter.data *= 1 + 0.2 * torch.randn(parameter.shape)
    adapted = scores(peft)
    weights = torch.randn(len(texts))
    sum(w * s for w, s in zip(weights, adapted)).backward()
    grads = {n.replace(".default", "").replace(".modules_to_save", "").replace("vector.weight", "vector"):
             p.grad.contiguous() for n, p in peft.named_parameters() if p.grad is not None}
    peft.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    file = folder / "adapter" / "adapter_config.json"  # sets, written in any order
    settings = json.loads(file.read_text())
    if isinstance(settings["target_modules"], list):
        settings["target_modules"].sort()
    file.write_text(json.dumps(settings, indent=2) + "\n")
    save_file(grads, folder / "grads.safetensors")
    expected = dict(pairs=PAIRS, base=base, adapted=[float(s) for s in adapted], weights=weights.tolist())
    with torch.no_grad():
        for name, kind in [("bf16", torch.bfloat16), ("f16", torch.float16)]:
            model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=kind)
            half = scores(PeftModel.from_pretrained(model, folder / "adapter").eval())
            expected[name] = max(abs(float(a) - float(b)) for a, b in zip(half, adapted))
        if not config.tie_word_embeddings:
            state = load_file(folder / "model.safetensors")
            state["lm_head.weight"] = torch.randn(config.vocab_size, config.hidden_size) * 0.2
            save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        expected.update(causal(folder, texts))
    (folder / "expected.json").write_text(json.dumps(expected, indent=1))


def main():
    tok = tokenizer()
    if sys.argv[1:2] == ["--random"]:
        rng = random.Random(5)
        for i in range(int(sys.argv[2])):
            make(pathlib.Path(sys.argv[3]) / f"random-{i}", *random_config(rng), tok)
    else:
        for name in sys.argv[1:] or CONFIGS:
            make(HERE / name, CONFIGS[name], LORAS.get(name, LORA), tok)


if __name__ == "__main__":
    main()
