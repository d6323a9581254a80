#!/usr/bin/env python3
"""Checks and measures `ser` on this machine, the most important parts first.

Needs PyTorch, and for the peers transformers, TRL and PEFT. Results go to OUT/results.json, which is replaced after every part and
entry, so that nothing is lost if the run is cut off; what programs print goes to OUT/log.txt.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import parts

HERE = pathlib.Path(__file__).resolve().parent


class Failed(Exception):
    """A program failed: the last lines that it printed, and all of its standard output."""

    def __init__(self, message, stdout=""):
        super().__init__(message)
        self.stdout = stdout


class Run:
    """Options, time left, results."""

    Failed = Failed

    def __init__(self, args):
        self.args, self.start = args, time.monotonic()
        self.end = self.start + args.seconds_total
        self.cuda, self.quick = args.device == "cuda", args.quick
        self.out = args.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.log = open(self.out / "log.txt", "w", encoding="utf-8")
        self.results = {"manifest": json.loads((HERE / "manifest.json").read_text()), "device": args.device,
                        "quick": args.quick, "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "parts": {}}
        self.models = {}
        for program in (HERE / "bin").iterdir():
            if not os.access(program, os.X_OK):  # Not every way of copying a folder keeps the modes.
                program.chmod(0o755)
        self.scratch = self.make_scratch()
        self.env = dict(os.environ, HF_HUB_OFFLINE="1", WANDB_DISABLED="true", TOKENIZERS_PARALLELISM="true",
                        PYTHONUNBUFFERED="1")
        self.lib = self.torch_lib()

    def make_scratch(self):
        """Main memory if it has room for the models, else the usual place."""
        needed = (1 if self.quick else 24) << 30
        shm = pathlib.Path("/dev/shm")
        room = shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > needed
        return pathlib.Path(tempfile.mkdtemp(prefix="ser-bundle-", dir=shm if room else None))

    @staticmethod
    def torch_lib():
        """The folder of libtorch in this Python, found without importing it."""
        from importlib.util import find_spec
        spec = find_spec("torch")
        if spec is None:
            sys.exit("error: this Python has no torch: install PyTorch, or run it with a Python that has it")
        return pathlib.Path(spec.origin).parent / "lib"

    def left(self):
        """Seconds left to the part that runs."""
        return self.end - time.monotonic()

    def save(self):
        partial = self.out / "results.json.partial"
        partial.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, self.out / "results.json")

    def command(self, command, limit, env=None):
        """Runs a command; returns stdout and stderr."""
        limit = min(limit, self.left())
        if limit < 1:
            raise Failed("no time is left")
        command = [str(part) for part in command]
        self.log.write(f"\n==> {' '.join(command)}\n")
        start = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, errors="replace", env=dict(self.env, **(env or {})))
        try:
            stdout, stderr = process.communicate(timeout=limit)
            end = None
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            end = f"stopped after {limit:.0f} s"
        self.log.write(f"{stdout}{stderr}==> {time.monotonic() - start:.1f} s, exit code {process.returncode}\n")
        self.log.flush()
        if end or process.returncode != 0:
            said = [line for line in (stderr.strip() or stdout.strip()).splitlines() if line.strip()]
            # A C++ or Python trace follows or precedes the cause.
            raise Failed(end or " | ".join(said[-3:])[-600:] or f"exit code {process.returncode}", stdout)
        return stdout, stderr

    def ser(self, arguments, limit, env=None):
        paths = [str(self.lib)] + [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(":") if path]
        return self.command([HERE / "bin/ser", *arguments], limit, {"LD_LIBRARY_PATH": ":".join(paths), **(env or {})})

    def python(self, script, arguments, limit):
        return self.command([sys.executable, HERE / script, *arguments], limit)

    def part(self, name, limit, work):
        """Runs one part, which adds its entries to the dictionary that it is given."""
        if self.args.only and name not in self.args.only:
            return
        found = self.results["parts"][name] = {}
        start = time.monotonic()
        self.end = min(start + limit, self.start + self.args.seconds_total)
        try:
            if self.left() < 5:
                raise Failed("skipped: no time is left")
            work(self, found, self.left())
        except Failed as error:
            found["error"] = str(error)
        except Exception as error:  # The other parts and what was found are worth more than this one.
            found["error"] = f"{type(error).__name__}: {error}"
        found["seconds"] = round(time.monotonic() - start, 1)
        self.save()
        print(f"{name}: {found['seconds']} s{', ' + found['error'] if 'error' in found else ''}", flush=True)

    def entry(self, found, name, work):
        """One measurement of a part; its failure is its result."""
        start = time.monotonic()
        try:
            result = work()
        except Failed as error:
            result = {"error": str(error)}
        self.record(found, name, {**result, "took": round(time.monotonic() - start, 1)})

    def record(self, found, name, result):
        found[name] = result
        self.save()
        print(f"  {name}: {parts.short(result)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny models and few pairs: tries the bundle itself")
    parser.add_argument("--seconds-total", type=float, default=480)
    parser.add_argument("--only", action="append", choices=[name for name, _, _ in parts.PARTS], default=[],
                        help="only this part; may be given several times")
    args = parser.parse_args()
    run = Run(args)
    try:
        for name, limit, work in parts.PARTS:
            run.part(name, limit, work)
    finally:
        shutil.rmtree(run.scratch, ignore_errors=True)
    run.results["seconds"] = round(time.monotonic() - run.start, 1)
    run.save()
    print("\n" + parts.table(run.results))


if __name__ == "__main__":
    main()
