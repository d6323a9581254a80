#!/usr/bin/env python3
"""Adapters and merged models written by ser-model, read by peft and transformers: tests/python.rs calls it.

  python check_written.py scores FOLDER    # FOLDER/*/{adapter,merged,case.json}: the scores are those of case.json
  python check_written.py make FOLDER      # writes FOLDER/*/adapter, of causal models, and logits.pt
  python check_written.py logits FOLDER    # FOLDER/*/merged gives these logits
"""
import pathlib, sys
import json

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

HERE = pathlib.Path(__file__).parent
IDS = torch.arange(2, 60)[None]


def scores(folder):
    case = json.loads((folder / "case.json").read_text())
    base = AutoModelForSequenceClassification.from_pretrained(case["base"], dtype=torch.float32)
    models = {"adapter": PeftModel.from_pretrained(base, folder / "adapter").eval()}
    models["merged"] = whole(AutoModelForSequenceClassification, folder / "merged")
    tokenizer = AutoTokenizer.from_pretrained(folder / "merged")
    for name, model in models.items():
        got = [float(model(**tokenizer(t, return_tensors="pt")).logits[0, 0]) for t in case["texts"]]
        yield name, max(abs(a - b) for a, b in zip(got, case["scores"]))


def logits(folder):
    got = whole(AutoModelForCausalLM, folder / "merged")(input_ids=IDS).logits
    yield "merged", float((got - torch.load(folder / "logits.pt")).abs().max())


def whole(kind, folder):
    """A model all of whose weights are in its folder, and nothing else."""
    model, loading = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not loading["missing_keys"], loading
    assert all(key == "score.weight" for key in loading["unexpected_keys"]), loading
    return model.eval()


def make(folder):
    torch.manual_seed(3)
    for name in ["llama", "llama3", "llama-linear", "mistral", "qwen2", "qwen3"]:
        model = AutoModelForCausalLM.from_pretrained(HERE / name, dtype=torch.float32)
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear",
                                                 use_rslora=name == "mistral"))
        for n, parameter in model.named_parameters():
            if "lora_B" in n:
                torch.nn.init.normal_(parameter, 0.0, 0.1)
        model.save_pretrained(folder / name / "adapter")
        torch.save(model.eval()(input_ids=IDS).logits, folder / name / "logits.pt")


def main():
    task, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if task == "make":
        return make(folder)
    worst = 0.0
    for one in sorted(path for path in folder.iterdir() if path.is_dir()):
        for name, gap in {"scores": scores, "logits": logits}[task](one):
            print(f"{one.name}, {name}: {gap:.1e}")
            worst = max(worst, gap)
    assert worst < 1e-4, worst


with torch.no_grad():
    main()
