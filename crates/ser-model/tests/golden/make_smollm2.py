#!/usr/bin/env python3
"""What transformers makes of the GGUF file of SmolLM2-135M-Instruct that `cargo xtask model smollm2` fetches: smollm2.json.

  ids, logprobs   of texts, the log-probabilities of their tokens after the first, in f32
  scores          of the same texts, the last token's hidden states after layers 15 and 30, times the head sin(0, 1, 2, ...) /
                  sqrt(hidden), in f32; those after layer 30, the last one, are after the final norm
  prompt, greedy  the ids of a question under the chat template, and the most likely tokens after it

transformers 5.23 builds the tokenizer without the file's rule for digits, which is added here.

  pip install torch==2.11.0 transformers==5.23.0 gguf==0.19.0 accelerate
  python make_smollm2.py ../../../../.models/SmolLM2-135M-Instruct.Q4_1.gguf
"""
import json, pathlib, sys

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = pathlib.Path(__file__).parent
TEXTS = [
    "The capital of France is Paris.",
    "\n\nHuman: How do I make a good cup of coffee?\n\nAssistant: Grind fresh beans, use water just off the boil, and don't "
    "let it stand too long.",
    "\n\nHuman: How do I make a good cup of coffee?\n\nAssistant: I don't know, ask somebody else.",
    "In 1969, 12 people of 400,000 walked on the moon; it's 384,400 km away.",
    "def f(x):\n    return [y ** 2 for y in range(x) if y % 3]\n",
    "Ünïcode: 你好，世界 🙂 naïve café",
]


def main(path):
    path = pathlib.Path(path)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    tok = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tok.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    ids = [tok(text)["input_ids"] for text in TEXTS]
    logprobs, scores = [], []
    head = torch.arange(model.config.hidden_size).float().sin() / model.config.hidden_size ** 0.5
    with torch.no_grad():
        for text in ids:
            tokens = torch.tensor([text])
            out = model(input_ids=tokens, output_hidden_states=True)
            rows = out.logits[0, :-1].log_softmax(-1).gather(-1, tokens[0, 1:, None])[:, 0]
            logprobs.append([round(float(v), 6) for v in rows])
            scores.append([round(float(out.hidden_states[depth][0, -1] @ head), 6) for depth in (15, 30)])
        question = [{"role": "user", "content": "What is the capital of France? Answer briefly."}]
        prompt = tok.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        answer = model.generate(**prompt, max_new_tokens=20, do_sample=False)[0, prompt["input_ids"].shape[1]:]
    print(tok.decode(answer))
    found = dict(texts=TEXTS, ids=ids, logprobs=logprobs, scores=scores, prompt=prompt["input_ids"][0].tolist(), greedy=answer.tolist())
    (HERE / "smollm2.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
