#!/usr/bin/env python3
"""What TRL's SFTTrainer logs while it trains all weights of the nano checkpoint `llama3`, and the loss on held-out texts.

Every step's batch is the whole set, so the order of texts means nothing. expected: sft.json.

  pip install torch==2.11.0 transformers==5.23.0 trl==1.16.0 datasets
  python sft.py
"""
import json, pathlib, tempfile

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

HERE = pathlib.Path(__file__).parent
# Prompt and answer, in bytes.
TEXTS = [["Why is the sky blue? ", "Short waves scatter most."], ["q", "a"], ["Name a river: ", "the Danube, the Volga"]]
HELD_OUT = [["Name a mountain: ", "the Ural"], ["Why? ", "So."]]
KEYS = ["loss", "entropy", "mean_token_accuracy", "num_tokens", "grad_norm", "learning_rate", "epoch"]


def rows(texts):
    made = []
    for prompt, answer in texts:
        p, a = ([b + 2 for b in text.encode()] for text in (prompt, answer))
        made.append({"input_ids": [0] + p + a + [1], "completion_mask": [0] * (1 + len(p)) + [1] * (len(a) + 1)})
    return made


def main():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(HERE / "llama3", dtype=torch.float32)
    config = SFTConfig(
        output_dir=tempfile.mkdtemp(), num_train_epochs=6, per_device_train_batch_size=len(TEXTS), learning_rate=1e-2,
        lr_scheduler_type="cosine", warmup_steps=2, max_grad_norm=1.0, logging_steps=1,
        eval_strategy="epoch", save_strategy="no", report_to=[], bf16=False, use_cpu=True, gradient_checkpointing=False,
        optim="adamw_torch", completion_only_loss=True, packing=False, disable_tqdm=True, loss_type="nll")
    trainer = SFTTrainer(model, config, train_dataset=Dataset.from_list(rows(TEXTS)),
                         eval_dataset=Dataset.from_list(rows(HELD_OUT)),
                         processing_class=AutoTokenizer.from_pretrained(HERE / "llama3"))
    trainer.train()
    log = trainer.state.log_history
    steps = [{k: float(line[k]) for k in KEYS} for line in log if "loss" in line]
    names = ["eval_loss", "eval_entropy", "eval_mean_token_accuracy"]
    evals = [{k: line[k] for k in names} for line in log if "eval_loss" in line]
    out = {"texts": rows(TEXTS), "held_out": rows(HELD_OUT), "steps": steps, "evaluations": evals}
    (HERE / "sft.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
