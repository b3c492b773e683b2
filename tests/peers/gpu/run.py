"""Measures our kernels and training steps, and PyTorch's, on this machine: ./run.sh --help.

Steps run in the order of their value until the time is up. Each has a limit of its own; each line of JSON
that it prints is added to results/results.jsonl at once, so that a crash keeps what was measured.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
BIN = HERE / "bin"
TRAINER = str(BIN / "bert-trainer")
# A step is not begun with less time than this.
LEAST_SECONDS = 5
KERNEL_TESTS_AT_ONCE = 8


class Sizes:
    """What is measured, in earnest or as a rehearsal."""

    def __init__(self, rehearse):
        self.device = "cpu" if rehearse else "cuda"
        # (arguments of `bench kernels`, name), the most valuable first
        bf16, f32 = "--precision bf16 --json", "--precision f32 --json"
        if rehearse:
            self.tune = [f"--config bert-tiny --batch-tokens 256 {bf16}"]
            small = "--config bert-tiny --tokens 256 --max-length 64"
            self.kernels = {
                "gemm": [f"gemm {small} {bf16}"],
                "attention": [f"attention {small} {bf16}"],
                "rows": [f"rows {small} {bf16}"],
                "gemm-f32": [f"gemm {small} {f32}"],
            }
            step = "--config bert-tiny --vocab-size 1000 --batch-size 16 --max-length"
            self.steps = {"tiny-64-ragged": f"{step} 64 --ragged", "tiny-64-full": f"{step} 64"}
            self.launched = ["tiny-64-ragged"]
            self.count = "--steps 3"
        else:
            # Most of the time is that of the driver, which compiles every block.
            self.tune = [
                f"--config bert-base --batch-tokens 16384,8192,4096 {bf16} --max-seconds 40",
                f"--config bert-large --batch-tokens 8192 {bf16} --max-seconds 15",
                f"--config bert-base --batch-tokens 8192 {f32} --max-seconds 10",
            ]
            self.kernels = {
                "gemm": [
                    f"gemm --config bert-base --tokens 8192,16384,4096 {bf16}",
                    f"gemm --config bert-large --tokens 8192 {bf16}",
                ],
                "attention": [f"attention --config bert-base --tokens 16384 {bf16}"],
                "rows": [f"rows --config bert-base --tokens 32768 {bf16}"],
                "gemm-f32": [f"gemm --config bert-base --tokens 8192 {f32}"],
            }
            self.steps = {
                "base-128-ragged": "--config bert-base --batch-size 128 --max-length 128 --ragged",
                "base-128-full": "--config bert-base --batch-size 128 --max-length 128",
                "base-512-ragged": "--config bert-base --batch-size 32 --max-length 512 --ragged",
                "large-128-ragged": "--config bert-large --batch-size 64 --max-length 128 --ragged",
                "base-512-full": "--config bert-base --batch-size 32 --max-length 512",
                "mini-128-ragged": "--config bert-mini --batch-size 128 --max-length 128 --ragged",
            }
            self.launched = ["base-128-ragged", "mini-128-ragged"]
            self.count = "--steps 20"


class Run:
    def __init__(self, args):
        self.args = args
        self.sizes = Sizes(args.rehearse)
        self.results = args.output
        self.results.mkdir(parents=True, exist_ok=True)
        self.tuning = self.results / "tuning.json"
        for name in ("results.jsonl", "steps.jsonl", "log.txt"):
            (self.results / name).unlink(missing_ok=True)
        self.started = time.monotonic()
        self.lock = threading.Lock()
        self.has_torch = subprocess.run(
            [sys.executable, "-c", "import torch, transformers"], capture_output=True
        ).returncode == 0

    def left(self):
        return self.args.minutes * 60 - (time.monotonic() - self.started)

    def add(self, file, line):
        with self.lock, open(self.results / file, "a") as out:
            out.write((line if isinstance(line, str) else json.dumps(line)) + "\n")

    def wants(self, step):
        return not self.args.only or any(step.startswith(name) for name in self.args.only)

    def record(self, step, began, code, tail="", **more):
        seconds = round(time.monotonic() - began, 2)
        self.add("steps.jsonl", {"step": step, "exit": code, "seconds": seconds, "tail": tail, **more})
        end = "ok" if code == 0 else f"left out: {tail}" if more.get("left_out") else f"exit {code}"
        print(f"{step}: {end}, {seconds:.0f} s", flush=True)

    def step(self, step, commands, limit, cwd=HERE, needs_torch=False):
        """Commands one after another, `limit` seconds together."""
        if not self.wants(step):
            return
        began = time.monotonic()
        if needs_torch and not self.has_torch:
            self.record(step, began, None, "PyTorch or Transformers is not here", left_out=True)
            return
        for command in commands:
            seconds = min(limit - (time.monotonic() - began), self.left())
            if seconds < LEAST_SECONDS:
                self.record(step, began, None, "no time was left", left_out=True)
                return
            code, tail = self.command(step, command, seconds, cwd)
            if code != 0:
                self.record(step, began, code, tail)
                return
        self.record(step, began, 0)

    def command(self, step, command, seconds, cwd, environment=None, keep=None):
        """Exit code (124 past the limit) and last lines of a command; its results go to the file."""
        self.add("log.txt", f"== {step}: {shlex.join(command)} (at most {seconds:.0f} s)")
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", start_new_session=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})},
        )
        late = threading.Event()

        def kill():
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(seconds, kill)
        timer.start()
        lines = []
        for line in process.stdout:
            line = line.rstrip("\n")
            if not (line.startswith("{") and self.result(step, line)):
                self.add("log.txt", line)
                lines.append(line)
                if keep is not None:
                    keep.append(line)
        code = process.wait()
        timer.cancel()
        return (124 if late.is_set() else code), "\n".join(lines[-12:])[-2000:]

    def result(self, step, text):
        try:
            line = json.loads(text)
        except ValueError:
            return False
        if "median_step_ms" in line:
            line = {"kind": "step", "by": "bert-trainer", **line}
        elif "products" in line:
            line = {"kind": "tuning", **line}
        self.add("results.jsonl", {"step": step, **line})
        return True

    def machine(self):
        def said(command):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=30)
                return (done.stdout or done.stderr).strip()
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"{command[0]}: {error}"

        fields = "name,driver_version,memory.total,power.limit,clocks.max.sm,clocks.max.memory,clocks.sm"
        python = "import torch, transformers as t, json; print(json.dumps({'torch': torch.__version__, " \
            "'transformers': t.__version__, 'cuda': torch.version.cuda, 'cudnn': torch.backends.cudnn.version()}))"
        packages = said([sys.executable, "-c", python]).splitlines()[-1:] if self.has_torch else []
        cpus = pathlib.Path("/proc/cpuinfo")
        model = re.search(r"model name\s*: (.*)", cpus.read_text()) if cpus.exists() else None
        machine = {
            "rehearsal": self.args.rehearse,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "device": self.sizes.device,
            "gpu": said(["nvidia-smi", f"--query-gpu={fields}", "--format=csv"]),
            "processor": model.group(1) if model else platform.machine(),
            "cores": os.cpu_count(),
            "libc": "-".join(platform.libc_ver()),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "packages": json.loads(packages[0]) if packages and packages[0].startswith("{") else {},
            "pack": json.loads((HERE / "pack.json").read_text()),
        }
        (self.results / "machine.json").write_text(json.dumps(machine, indent=1) + "\n")
        # A library or symbol that is missing shows here, in one line.
        self.step("start", [[TRAINER, "--version"]], 30)

    def tune(self, limit):
        """The blocks that all that follows computes with."""
        commands = [[TRAINER, "tune", *args.split(), *self.on_device(self.tuning)] for args in self.sizes.tune]
        if self.wants("tune"):
            self.tuning.unlink(missing_ok=True)
        self.step("tune", commands, limit)

    def on_device(self, tuning=None):
        tuning = tuning or (self.tuning if self.tuning.exists() else "off")
        return ["--device", self.sizes.device, "--tuning", str(tuning)]

    def correctness(self, limit):
        """Every row of the case table, an op a process: compiling is most of the time, and goes at once."""
        step = "correctness"
        if not self.wants(step):
            return
        began = time.monotonic()
        runtime = self.sizes.device
        ops = (HERE / "ops.txt").read_text().split()
        if self.args.rehearse:
            ops = [op for op in ops if op in ("bias", "elementwise", "rows")]

        def test(op):
            seconds = min(limit - (time.monotonic() - began), self.left())
            if seconds < LEAST_SECONDS:
                return op, None
            command = [str(BIN / "ops"), "every_row_on_every_runtime", "--exact", "--nocapture"]
            environment = {"BERT_RUNTIME": runtime, "BERT_CASES": f"{runtime} {op} "}
            said = []
            code, _ = self.command(f"{step} {op}", command, seconds, HERE, environment, said)
            rows = re.search(rf"{runtime}: (\d+) rows ran, (\d+) skipped", "\n".join(said))
            ran, skipped = map(int, rows.groups()) if rows else (0, 0)
            wrong = [text for text in said if text.startswith(f"{runtime} {op} ")]
            self.add("results.jsonl", {
                "step": step, "kind": "correctness", "op": op, "device": runtime, "exit": code, "ran": ran,
                "skipped": skipped, "failed": len(wrong), "failures": [text[:300] for text in wrong[:20]],
            })
            return op, code if ran else code or 1

        at_once = min(KERNEL_TESTS_AT_ONCE, os.cpu_count() or 1)
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            ends = dict(pool.map(test, ops))
        wrong = [f"{op}: exit {code}" for op, code in ends.items() if code != 0]
        self.record(step, began, 1 if wrong else 0, "\n".join(wrong))

    def recorded(self, limit):
        """Passes that are replayed leave the bits that launched ones leave."""
        environment, step = {"BERT_RUNTIME": self.sizes.device}, "recorded passes"
        if self.wants(step):
            began = time.monotonic()
            code, tail = self.command(step, [str(BIN / "recorded")], min(limit, self.left()), HERE, environment)
            self.record(step, began, code, tail)

    def kernels(self, name, ours, theirs):
        sizes, device = self.sizes, self.sizes.device
        bench = [[TRAINER, "bench", "kernels", *args.split()] for args in sizes.kernels[name]]
        self.step(f"{name} ours", [[*command, *self.on_device()] for command in bench], ours)
        if not self.wants(f"{name} torch"):
            return
        cases = self.results / f"cases-{name}.jsonl"
        with open(cases, "w") as out:
            for command in bench:
                subprocess.run([*command, "--list"], stdout=out, timeout=30, check=False)
        peer = [sys.executable, "-u", "torch_kernels.py", str(cases), "--device", device]
        self.step(f"{name} torch", [peer], theirs, needs_torch=True)
        cases.unlink()

    def training(self):
        sizes = self.sizes
        common = f"--precision bf16 {sizes.count}"
        for name, args in sizes.steps.items():
            words = [*args.split(), *common.split(), *self.on_device()]
            command = [TRAINER, "bench", *words, "--profile", "--json"]
            self.step(f"step {name} ours", [command], 60)
        for compiled in ("", "--compile"):
            each = [f"{args} {common} --device {sizes.device} {compiled}" for args in sizes.steps.values()]
            peer = [sys.executable, "-u", "torch_train.py", "--each", *each]
            limit = 240 if compiled else 120
            self.step(f"step torch {'compiled' if compiled else 'eager'}", [peer], limit, needs_torch=True)
        for name in sizes.launched:
            # Without recorded passes: what they are worth.
            command = [TRAINER, "bench", *sizes.steps[name].split(), *common.split(), "--no-record", "--json"]
            self.step(f"step {name} launched", [command], 30)

    def recipe(self, data):
        model = self.results / "recipe"
        shutil.rmtree(model, ignore_errors=True)
        # Not in bf16 by the flag: the recipe says the precision.
        command = [TRAINER, "pretrain", "--recipe", str(HERE / "bert-small-10min.toml"), "--data", str(data),
                   "--output", str(model), *self.on_device(), "--json"]
        self.args.minutes += 12
        self.step("recipe", [command], 720)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with tiny sizes")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--only", nargs="+", metavar="STEP", help="steps whose names begin so")
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "results")
    parser.add_argument("--recipe", type=pathlib.Path, metavar="DIR", help="prepared data to pre-train on")
    args = parser.parse_args()
    args.output = args.output.resolve()
    run = Run(args)
    run.machine()
    run.tune(75)
    run.correctness(120)
    run.recorded(60)
    run.kernels("gemm", 60, 40)
    run.kernels("attention", 60, 60)
    run.kernels("rows", 60, 45)
    run.training()
    run.kernels("gemm-f32", 40, 40)
    if args.recipe:
        run.recipe(args.recipe.resolve())
    ends = [json.loads(line) for line in open(run.results / "steps.jsonl")]
    wrong = [end["step"] for end in ends if end["exit"] != 0 and not end.get("left_out")]
    print(f"{len(ends)} steps, failed: {', '.join(wrong) or 'none'}; results in {run.results}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
