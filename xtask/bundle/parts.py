"""The parts of a run, the most important first: each measures something and adds it to the results."""
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
LIMIT = 511  # tokens of a text, one less than the 512 of the measurements: some append an end token
ALL_LINEAR = "lora.target_modules=all-linear"


def last_json(text):
    """The last line of JSON that a program printed."""
    for line in reversed(text.splitlines()):
        if line.startswith('{"'):
            return json.loads(line)
    raise ValueError("it printed no result")


def device(run, found, limit):
    """What the machine is, and whether `ser` finds its GPU."""
    model = HERE / "goldens/generation/llama"
    arguments = ["generate", "--model", model, "--prompt", "Hi", "--max-new-tokens", 2, "--greedy",
                 "--device", run.args.device]
    run.entry(found, "ser", lambda: {"says": run.ser(arguments, limit)[1].splitlines()[0]})
    if run.cuda:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
        run.entry(found, "nvidia-smi", lambda: {"says": run.command(query, 20)[0].strip()})
    rows = 1024 if run.quick else 8192
    run.entry(found, "torch", lambda: last_json(run.python("device.py", ["--device", run.args.device, "--rows", rows], limit)[0]))


def checks(run, found, limit):
    """The GPU tests of ser-model."""
    env = {"SER_GOLDENS": str(HERE / "goldens"), "LD_LIBRARY_PATH": str(run.lib), "RUST_BACKTRACE": "0"}
    if run.cuda:
        env["SER_REQUIRE"] = "cuda"
    command = [HERE / "bin/gpu-checks", "--nocapture", "--test-threads=1"]
    try:
        stdout, stderr = run.command(command, limit, env)
    finally:
        run.log.flush()
        # Kept after a failure too, whose error is only the end.
        said = (run.out / "log.txt").read_text(encoding="utf-8").rpartition("\n==> ")[0].rpartition("\n==> ")[2]
        found["said"] = [line for line in said.splitlines()[1:] if line.strip()][:120]
    found["tests"] = [line for line in stdout.splitlines() if line.startswith("test ")]


def model(run, found, size):
    """The folder of a random model, made once, and its pairs."""
    if size in run.models:
        return run.models[size]
    folder = run.scratch / size
    data = HERE / "data/pairs.jsonl"
    made = last_json(run.python("make_model.py", ["--data", data, "--out", folder, "--size", size], 120)[0])
    found["model"] = made
    pairs = run.scratch / f"{size}.jsonl"
    arguments = ["--data", data, "--pairs", 32 if run.quick else 512, "--tokenizer", folder, "--max-length", LIMIT,
                 "--fewer", "--out", pairs]
    run.python("preferences.py", arguments, 60)
    run.models[size] = (folder, pairs)
    run.save()
    print(f"  model: {made['weights'] / 1e9:.2f} G weights in {made['seconds']} s", flush=True)
    return run.models[size]


def bench(run, folder, pairs, works, settings, limit, count=256, precision="bfloat16"):
    """The results of `ser bench`, with its first line on stderr, which tells the device."""
    arguments = ["bench", "--json", "--model", folder, "--data", pairs, "--pairs", 16 if run.quick else count,
                 "--template", "raw", "--precision", precision, "--device", run.args.device,
                 "--seconds", 0.3 if run.quick else 6]
    for work in works:
        arguments += ["--work", work]
    for setting in settings:
        arguments += ["--set", setting]
    stdout, stderr = run.ser(arguments, limit)
    return {**json.loads(stdout), "says": stderr.splitlines()[0]}


def shape(size, entries):
    """A part that measures `ser` at one shape."""
    def part(run, found, limit):
        folder, pairs = model(run, found, "tiny" if run.quick else size)
        for name, works, settings in entries[:2] if run.quick else entries:
            run.entry(found, name, lambda: bench(run, folder, pairs, works, settings, 100))
    return part


def batch(pairs, *more):
    return [f"training.batch_size={pairs}", *more]


CHECKPOINTING = "training.gradient_checkpointing=true"
EIGHT = shape("8b", [
    ("16384 tokens; q and v, batch 8", ["score", "reward"], batch(8, "model.token_budget=16384")),
    ("all-linear, batch 8", ["reward"], batch(8, ALL_LINEAR)),
    ("q and v, batch 16", ["reward"], batch(16)),
    ("all-linear, batch 16", ["reward"], batch(16, ALL_LINEAR)),
    ("all-linear, batch 32", ["reward"], batch(32, ALL_LINEAR)),
    ("all-linear, batch 32, checkpointing", ["reward"], batch(32, ALL_LINEAR, CHECKPOINTING)),
    ("32768 tokens", ["score"], ["model.token_budget=32768"]),
])
ONE = shape("1b", [
    ("16384 tokens; q and v, batch 16", ["score", "reward"], batch(16, "model.token_budget=16384")),
    ("all-linear, batch 16", ["reward"], batch(16, ALL_LINEAR)),
    ("all-linear, batch 32", ["reward"], batch(32, ALL_LINEAR)),
    ("65536 tokens", ["score"], ["model.token_budget=65536"]),
])


def synchronizations(run, found, limit):
    """Calls that wait for the GPU or copy from and to it, for each training step: the difference of two runs."""
    folder, pairs = model(run, found, "tiny")

    def counts(epochs):
        path = run.scratch / f"counts-{epochs}.json"
        arguments = ["train", "reward", "--model", folder, "--data", pairs, "--out", run.scratch / f"run-{epochs}",
                     "--template", "raw", "--precision", "bfloat16", "--device", run.args.device,
                     "--set", "split.test=0", "--set", f"training.epochs={epochs}", "--set", "training.save_steps=100000"]
        run.ser(arguments, limit, {"LD_PRELOAD": str(HERE / "bin/count_syncs.so"), "SER_SYNC_COUNTS": str(path)})
        return json.loads(path.read_text())

    def per_step():
        steps = -(-len(pairs.read_text(encoding="utf-8").splitlines()) // 4)
        one, two = counts(1), counts(2)
        return {"steps": steps, "total": two, "per_step": {name: (two[name] - one[name]) / steps for name in one}}

    run.entry(found, "reward training", per_step)


def peers(run, found, limit):
    """The same work by transformers and TRL, at the shapes that were measured."""
    common = ["--dtype", "bfloat16", "--device", run.args.device]
    plans = [("8b", [16384, 32768], [4, 8]), ("1b", [16384, 65536], [16, 32])]
    for size, budgets, sizes in [("tiny", [2048], [4])] if run.quick else plans:
        folder, pairs = model(run, found, size)
        given = ["--model", folder, "--data", pairs, *common]
        budget = [word for tokens in budgets for word in ("--token-budget", tokens)]
        lines(run, found, f"{size} score, {{token_budget}} tokens", "hf_score.py", [*given, *budget])
        steps = ["--max-steps", 6 if run.quick else 12]
        lines(run, found, f"{size} reward {{targets}}, batch {{batch}}", "trl_reward.py",
              [*given, *steps, "--targets", "all-linear", "q_proj,v_proj", "--batch", *sizes])


def lines(run, found, name, script, arguments):
    """One entry for each line of JSON that a script prints, also if it was stopped."""
    error, printed = None, ""
    try:
        printed = run.python(script, arguments, 100)[0]
    except run.Failed as failed:
        error, printed = str(failed), failed.stdout
    for line in printed.splitlines():
        # Trainers print dictionaries of Python besides.
        if line.startswith('{"'):
            result = json.loads(line)
            run.record(found, name.format(**result), result)
    if error:
        run.record(found, f"{script} {' '.join(str(word) for word in arguments[8:])}", {"error": error})


def generate(run, found, limit):
    """Greedy answers of 64 tokens, in tokens per second."""
    for size in ["tiny"] if run.quick else ["8b", "1b"]:
        folder, pairs = model(run, found, size)
        prompts = run.scratch / f"{size}-prompts.jsonl"
        run.python("preferences.py", ["--data", pairs, "--pairs", 256, "--fewer", "--prompts", "--out", prompts], 30)
        for count in [8] if run.quick else [8, 64]:
            arguments = ["generate", "--timing", "--greedy", "--model", folder, "--prompts", prompts, "--template", "raw",
                         "--batch", count, "--max-new-tokens", 64, "--min-new-tokens", 64, "--precision", "bfloat16",
                         "--device", run.args.device]
            run.entry(found, f"{size}, batch {count}", lambda: last_json(run.ser(arguments, 60)[1]))


def procedure(run, found, limit):
    """The whole procedure on a small built-in corpus: SFT, the loop, PPO, DPO and the comparison of their policies."""
    settings = ["corpus.pairs=120", "corpus.test_pairs=40", "base.training.epochs=1", "training.epochs=1",
                "sft.training.epochs=1", "policies.sampling.max_new_tokens=32", "policies.sampling.min_new_tokens=0",
                "policy_run.steps=3"]
    arguments = ["run", "--full", "--device", run.args.device, "--out", run.scratch / "procedure"]
    for setting in settings:
        arguments += ["--set", setting]
    run.entry(found, "ser run --full", lambda: {"says": run.ser(arguments, limit)[0].strip().splitlines()[-1]})


def smollm2(run, found, limit):
    """A real model, if its file is there: beside this script or in `models`."""
    files = sorted([*HERE.glob("SmolLM2*.gguf"), *HERE.glob("models/SmolLM2*.gguf")])
    if not files:
        found["skipped"] = "no file SmolLM2*.gguf"
        return
    for precision in ("bfloat16", "float32"):
        run.entry(found, precision, lambda: bench(run, files[0], HERE / "data/pairs.jsonl", ["score", "reward"],
                                                  batch(16, "model.token_budget=16384"), 60, precision=precision))


PARTS = [
    ("device", 60, device),
    ("checks", 90, checks),
    ("8b", 300, EIGHT),
    ("synchronizations", 60, synchronizations),
    ("1b", 120, ONE),
    ("peers", 300, peers),
    ("procedure", 90, procedure),
    ("generate", 90, generate),
    ("smollm2", 90, smollm2),
]


def works(entry):
    """The measurements of an entry of ours."""
    return entry.get("works", []) if isinstance(entry, dict) else []


def memory(count):
    return "" if count is None else f"{count / 1e9:.1f} GB"


def short(entry):
    """An entry in a line."""
    if "error" in entry:
        return f"failed: {entry['error'][-300:]}"
    if works(entry):
        return "; ".join(f"{work['work']} {work['pairs_per_s']:.2f} pairs/s, {100 * work['rate_share']:.1f} % of "
                         f"{entry['matrix_flops_per_s'] / 1e12:.3g} TFLOP/s, {memory(work['peak_memory'])}"
                         for work in works(entry))
    if "tokens_per_s" in entry:
        return f"{entry['tokens_per_s']:.1f} tokens/s"
    if "pairs_per_s" in entry:
        return f"{entry['pairs_per_s']:.2f} pairs/s {memory(entry.get('peak_memory'))}"
    return json.dumps(entry.get("says", entry.get("per_step", entry)))[:300]


def table(results):
    """All measurements as a table in Markdown."""
    rows = ["| part | measurement | pairs/s | tokens/s | TFLOP/s | of the rate | peak memory |",
             "|---|---|---:|---:|---:|---:|---:|"]
    for part, found in results["parts"].items():
        for name, entry in found.items():
            if not isinstance(entry, dict):
                continue
            for work in works(entry):
                rows.append(f"| {part} | {work['work']}, {name} | {work['pairs_per_s']:.2f} | {work['tokens_per_s']:.0f} | "
                             f"{work['flops_per_s'] / 1e12:.4g} | {100 * work['rate_share']:.1f} % | "
                             f"{memory(work['peak_memory'])} |")
            if "tokens_per_s" in entry:
                rows.append(f"| {part} | {name} | | {entry['tokens_per_s']:.1f} | | | |")
            if "pairs_per_s" in entry:
                rows.append(f"| {part} | {name} | {entry['pairs_per_s']:.2f} | | | | {memory(entry.get('peak_memory'))} |")
            if "error" in entry:
                rows.append(f"| {part} | {name} | {entry['error'][-160:].replace('|', '/')} | | | | |")
        if "error" in found:
            rows.append(f"| {part} | {found['error'][-160:].replace('|', '/')} | | | | | |")
    return "\n".join(rows)
