#!/usr/bin/env python3
"""Reward-model training speed of TRL's RewardTrainer with PEFT's LoRA.

Prints one JSON line: pairs per second over the steps after the warm-up, model and data loading excluded. With several --batch or
--targets the model is loaded once, and each of their combinations is a training of its own, with a line of its own.
"""
import argparse
import gc
import itertools
import json
import resource
import tempfile
import time

import torch
from datasets import Dataset
from peft import LoraConfig, TaskType
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl import RewardConfig, RewardTrainer

import preferences


class Clock(TrainerCallback):
    """Notes when the warm-up's last step and the last step of all end."""

    def __init__(self, warmup):
        self.warmup, self.start, self.end, self.steps = warmup, None, None, 0

    def on_step_end(self, args, state, control, **_):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if state.global_step == self.warmup:
            self.start = time.perf_counter()
        self.end, self.steps = time.perf_counter(), state.global_step


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--batch", type=int, nargs="+", default=[4])
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--warmup-steps", type=int, default=4)
    parser.add_argument("--layers", type=int, help="adapters on this many layers from the top; all by default")
    parser.add_argument("--targets", nargs="+", default=["q_proj,v_proj"], help="projections with adapters, or all-linear")
    parser.add_argument("--max-steps", type=int, default=-1, help="steps in all; one epoch by default")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    rows = preferences.read(args.data)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model, num_labels=1, dtype=getattr(torch, args.dtype))
    for targets, batch in itertools.product(args.targets, args.batch):
        result, model = train(model, tokenizer, rows, targets, batch, args)
        print(json.dumps(result), flush=True)


def train(model, tokenizer, rows, targets, batch, args):
    """A training with fresh adapters; returns its result, and the model without them."""
    count = model.config.num_hidden_layers
    cuda = args.device.startswith("cuda")
    layers = list(range(count - args.layers, count)) if args.layers else None
    if cuda:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    clock = Clock(args.warmup_steps)
    trainer = RewardTrainer(
        model=model, processing_class=tokenizer, callbacks=[clock], train_dataset=Dataset.from_list(rows),
        args=RewardConfig(output_dir=tempfile.mkdtemp(), per_device_train_batch_size=batch, num_train_epochs=1,
                          learning_rate=2e-5, max_length=args.max_length, lr_scheduler_type="linear", report_to=[],
                          logging_steps=10, save_strategy="no", max_steps=args.max_steps,
                          gradient_checkpointing=args.gradient_checkpointing, use_cpu=not cuda,
                          bf16=args.dtype == "bfloat16" and cuda, dataloader_num_workers=0, disable_tqdm=True),
        peft_config=LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=32, lora_dropout=0.1,
                               target_modules=targets if targets == "all-linear" else targets.split(","),
                               layers_to_transform=layers, modules_to_save=["score"]))
    try:
        out = trainer.train()
    except torch.OutOfMemoryError as error:
        return {"batch": batch, "targets": targets, "error": str(error).split(". ")[0]}, trainer.model.unload()
    timed = clock.steps - args.warmup_steps
    result = {"peer": "TRL RewardTrainer", "pairs_per_s": timed * batch / (clock.end - clock.start), "batch": batch,
              "targets": targets, "train_loss": out.training_loss,
              "peak_memory": torch.cuda.max_memory_allocated() if cuda else None,
              "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    return result, trainer.model.unload()


if __name__ == "__main__":
    main()
