#!/usr/bin/env python3
"""Steps per minute of TRL 0.11's PPOTrainer, the one that the method's authors used.

A step: an answer of exactly --new-tokens tokens to each prompt of a batch, a reward model's scores, and the epochs of
mini-batch updates of a LoRA policy with a value head. Prints one JSON line: the median step's, after a first that is not
counted.
"""
import argparse
import json
import statistics
import time

import torch
from peft import LoraConfig
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast
from trl import AutoModelForCausalLMWithValueHead, PPOConfig, PPOTrainer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="JSON lines with `prompt`")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--mini-batch", type=int, default=1)
    parser.add_argument("--ppo-epochs", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    with open(args.data, encoding="utf-8") as lines:
        prompts = [json.loads(line)["prompt"] for line in lines]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.model, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    lora = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, lora_dropout=0.05,
                      target_modules=["q_proj", "v_proj"])
    policy = AutoModelForCausalLMWithValueHead.from_pretrained(args.model, peft_config=lora)
    reward = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=1).eval()
    reward.config.pad_token_id = tokenizer.pad_token_id
    config = PPOConfig(learning_rate=1.4e-5, batch_size=args.batch, mini_batch_size=args.mini_batch,
                       ppo_epochs=args.ppo_epochs, target_kl=0.1, init_kl_coef=0.2)
    trainer = PPOTrainer(config, policy, None, tokenizer)
    queries = [torch.tensor(tokenizer(prompt)["input_ids"]) for prompt in prompts]
    seconds = []
    for first in range(0, len(queries) - args.batch + 1, args.batch):
        batch = queries[first:first + args.batch]
        start = time.perf_counter()
        answers = trainer.generate(batch, return_prompt=False, max_new_tokens=args.new_tokens,
                                   min_new_tokens=args.new_tokens, do_sample=True, top_k=0, top_p=1.0,
                                   pad_token_id=tokenizer.pad_token_id, batch_size=args.batch)
        with torch.inference_mode():
            texts = [torch.cat(pair) for pair in zip(batch, answers)]
            rows = tokenizer.pad({"input_ids": texts}, return_tensors="pt", padding_side="right")
            scores = reward(**rows).logits[:, 0].sigmoid()
        trainer.step(batch, answers, [score.clone() for score in scores])
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"peer": "TRL PPOTrainer", "steps_per_min": 60 / statistics.median(seconds[1:])}))


if __name__ == "__main__":
    main()
