"""`make bench`: ratios measured side by side in one run, written to RESULTS.md beside this file.

`bench.py sweeps grading` measures only the parts that begin so; the others keep their tables and dates.
Every row compares contestants in turns: each round measures each of them once, and a ratio is taken within a round.
The table gives the median of the ratios over the rounds, and the smallest and the largest. None of this is a test.
"""

import datetime
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from contestants import flops_per_step, jax_stack, lightning_seconds, peak_flops, plain_seconds

from course_lib import optimizers
from course_lib.models import MLP, ConvNet
from course_lib.optimizers import SGD, Adam, TorchOptimizer
from course_lib.rng import generator
from course_lib.sweeps import sweep
from course_lib.training import fit

HERE = Path(__file__).parent
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
SUBMISSIONS = int(os.environ.get("BENCH_SUBMISSIONS", "200"))
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DENSE = "64-{0}-{0}-10, batch 32, Adam"


def dense(width):
    return lambda g: MLP((64, width, width, 10), generator=g)


def conv(g):
    return ConvNet((1, 40), (25, 25, 25), 10, kernel=(5, 3, 3), generator=g)


TASKS = {
    DENSE.format(32): (dense(32), 64, 32, Adam(1e-3), torch.optim.Adam, "dense", [(64, 32), (32, 32), (32, 10)]),
    DENSE.format(128): (dense(128), 64, 32, Adam(1e-3), torch.optim.Adam, "dense", [(64, 128), (128, 128), (128, 10)]),
    "MNIST-1D convolutions 25-25-25, batch 100, SGD": (
        conv, 40, 100, SGD(1e-2), lambda p: torch.optim.SGD(p, 1e-2), "conv",
        [(5, 1, 25), (3, 25, 25), (3, 25, 25), (125, 10)],
    ),
}  # fmt: skip


def in_turns(contestants, rounds=ROUNDS):
    """Return name → seconds of each round; one unmeasured call first, for caches and compilers."""
    for call in contestants.values():
        call()
    times = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            times[name].append(call())
    return times


def ratio(a, b):
    """Return the median, smallest and largest of a/b within the rounds, as text."""
    ratios = [x / y for x, y in zip(a, b, strict=True)]
    return f"{statistics.median(ratios):.2f}× ({min(ratios):.2f} … {max(ratios):.2f})"


def micro(times, count):
    return f"{statistics.median(times) / count * 1e6:.1f}"


def data(features, batch_size, n_batches=40):
    n = features and n_batches * batch_size
    x = torch.randn(n, features, generator=generator(0, "bench"))
    return x.to(DEVICE), torch.randint(0, 10, (n,), generator=generator(1, "bench")).to(DEVICE)


def sweeps(runs_of, steps, plain_steps):
    """Rows of sweeps against the plain loop and JAX, in µs for one run and step."""
    rows, peak = [], peak_flops(DEVICE)
    for name, (build, features, batch_size, rule, torch_rule, kind, sizes) in TASKS.items():
        runs, (x, y) = runs_of[kind], data(features, batch_size)
        val, epochs = (x[:320], y[:320]), max(1, steps // 40)
        half = max(1, runs // 2)
        grid = {"lr": [float(rule.lr), float(rule.lr) / 2]}
        peak_us = flops_per_step(build(generator(0)).to(DEVICE), x[:batch_size]) / peak * 1e6

        def ours(build=build, x=x, y=y, val=val, rule=rule, epochs=epochs, batch_size=batch_size, half=half, grid=grid):
            start = time.perf_counter()
            sweep(
                build, (x, y), rule, epochs=epochs, seeds=range(half), grid=grid, batch_size=batch_size, val_data=val,
                compile=True, device=DEVICE, progress=False,
            )  # fmt: skip
            return time.perf_counter() - start

        contestants = {"sweep": ours}
        for threads in sorted({1, CORES}) if DEVICE.type == "cpu" else [1]:
            contestants[f"plain {threads}"] = lambda t=threads, b=build, r=torch_rule, x=x, y=y, n=batch_size: (
                plain_seconds(b(generator(0)).to(DEVICE), r, x, y, n, plain_steps, t)
            )
        if find_spec("jax"):
            jax_steps = 400 if kind == "dense" else 20  # its convolutions take a second for each such step
            jax_run = jax_stack(kind, sizes, runs, batch_size, "adam" if isinstance(rule, Adam) else "sgd")
            contestants["JAX"] = lambda run=jax_run, n=jax_steps: run(n)
        times = in_turns(contestants)
        each = {"sweep": 2 * half * epochs * 40, "JAX": runs * (400 if kind == "dense" else 20)}
        per = {n: [s / each.get(n, plain_steps) for s in times[n]] for n in times}
        best = min((n for n in per if n.startswith("plain")), key=lambda n: statistics.median(per[n]))
        us = {n: statistics.median(per[n]) * 1e6 for n in per}
        rows.append([
            name, str(2 * half), f"{us['sweep']:.1f}", f"{us[best]:.0f} ({best.split()[1]} thr.)",
            f"{us['JAX']:.1f}" if "JAX" in us else "–", ratio(per[best], per["sweep"]),
            ratio(per["JAX"], per["sweep"]) if "JAX" in per else "–", f"{peak_us:.1f}",
        ])  # fmt: skip
    head = [
        "task",
        "runs",
        "sweep, µs",
        "plain loop, µs",
        "JAX, µs",
        "plain / sweep",
        "JAX / sweep",
        "FLOPs at peak, µs",
    ]
    return table(head, rows)


def fits():
    """Rows of `fit` against a hand-written loop and Lightning; one thread."""
    torch.set_num_threads(1)
    x, y = (t.cpu() for t in data(64, 32))
    epochs, rows = 20, []
    for width in (32, 128):
        model = dense(width)

        def ours(make, model=model):
            net = model(generator(0))
            start = time.perf_counter()
            fit(net, (x, y), make(net), epochs=epochs, generator=generator(1), loss=F.cross_entropy, device="cpu")
            return time.perf_counter() - start

        def hand(model=model):
            net, g = model(generator(0)), generator(1)
            optimizer = torch.optim.Adam(net.parameters())
            start = time.perf_counter()
            for _ in range(epochs):
                for batch in torch.randperm(len(x), generator=g).split(32):
                    loss = F.cross_entropy(net(x[batch]), y[batch])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    loss.item()
            return time.perf_counter() - start

        contestants = {
            "hand": hand,
            "fit, torch's Adam": lambda o=ours: o(lambda net: torch.optim.Adam(net.parameters())),
            "fit, our Adam": lambda o=ours: o(lambda net: Adam(1e-3)),
        }
        if find_spec("lightning"):
            contestants["Lightning"] = lambda m=model: lightning_seconds(
                m(generator(0)), torch.optim.Adam, x, y, 32, epochs
            )
        times, steps = in_turns(contestants), epochs * 40
        for name in contestants:
            more = [a - b for a, b in zip(times[name], times["hand"], strict=True)]
            rows.append([
                DENSE.format(width), name, micro(times[name], steps), ratio(times[name], times["hand"]),
                "–" if name == "hand" else micro(more, steps),
            ])  # fmt: skip
    return table(["task", "loop", "µs a step", "against hand-written", "overhead, µs a step"], rows)


PAIRS = {
    "SGD": lambda p, **k: torch.optim.SGD(p, 1e-3, **k),
    "Momentum": lambda p, **k: torch.optim.SGD(p, 1e-3, momentum=0.9, **k),
    "Nesterov": lambda p, **k: torch.optim.SGD(p, 1e-3, momentum=0.9, nesterov=True, **k),
    "Adagrad": lambda p, **k: torch.optim.Adagrad(p, 1e-3, **k),
    "Adadelta": lambda p, **k: torch.optim.Adadelta(p, 1e-3, **k),
    "RMSProp": lambda p, **k: torch.optim.RMSprop(p, 1e-3, **k),
    "Adam": lambda p, **k: torch.optim.Adam(p, 1e-3, **k),
    "AdamW": lambda p, **k: torch.optim.AdamW(p, 1e-3, **k),
    "AdaMax": lambda p, **k: torch.optim.Adamax(p, 1e-3, **k),
    "Nadam": lambda p, **k: torch.optim.NAdam(p, 1e-3, **k),
    "AMSGrad": lambda p, **k: torch.optim.Adam(p, 1e-3, amsgrad=True, **k),
}


def rules():
    """Rows of our rules against torch.optim, one step each, one thread: per tensor, and all tensors at once."""
    torch.set_num_threads(1)
    rows = []
    for name, theirs in PAIRS.items():
        row = [name]
        for foreach in (False, True):
            cells = {}
            for who in ("ours", "torch"):
                net = dense(128)(generator(0)).to(DEVICE)
                for p in net.parameters():
                    p.grad = torch.full_like(p, 0.01)
                rule = getattr(optimizers, name)(lr=1e-3)
                made = TorchOptimizer if who == "ours" else None
                optimizer = (
                    made(net.parameters(), rule, foreach=foreach) if made else theirs(net.parameters(), foreach=foreach)
                )

                def run(optimizer=optimizer, net=net):
                    start = time.perf_counter()
                    for _ in range(200):
                        optimizer.step()
                    next(net.parameters()).flatten()[0].item()
                    return time.perf_counter() - start

                cells[who] = run
            times = in_turns(cells)
            row += [micro(times["ours"], 200), micro(times["torch"], 200), ratio(times["ours"], times["torch"])]
        rows.append(row)
    head = ["rule", "per tensor, µs", "torch, foreach=False", "ratio", "at once, µs", "torch, foreach=True", "ratio"]
    return table(head, rows)


COMPILING = """
import time, torch
torch.set_num_threads(1)
from course_lib.models import MLP
from course_lib.optimizers import Adam
from course_lib.sweeps import sweep
x, y = torch.randn(1280, 64), torch.randint(0, 10, (1280,))
build = lambda g: MLP((64, 32, 32, 10), generator=g)
def once(compile):
    start = time.perf_counter()
    sweep(build, (x, y), Adam(), epochs=1, seeds=range(32), compile=compile, progress=False, device="cpu")
    return time.perf_counter() - start
once(False)
print(once(True) - once(True))
"""


def compiling():
    """Row of what compiling adds to a sweep's first call, without and with the compiler's cache, in new processes."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
        command = [sys.executable, "-c", COMPILING]
        outputs = [subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True) for _ in range(4)]
        cold, *warm = (float(done.stdout) for done in outputs)
    return table(["compile", "seconds"], [["cold", f"{cold:.1f}"], ["warm, the largest of three", f"{max(warm):.1f}"]])


def book():
    """Rows of the book's build in a copy: cold, again, and after an edit of one chapter's code."""
    root = HERE.parents[1]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "book"
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns(".venv", "_build", ".git", "*cache*"))
        page = copy / "chapters" / "05_gradient_flow.md"
        seconds = {}
        for name in ("cold", "again", "after an edit of one chapter"):
            if name.startswith("after"):
                page.write_text(
                    page.read_text().replace("set_threads(1)\n```", "set_threads(1)\nedited = True\n```", 1)
                )
            start = time.perf_counter()
            command = [sys.executable, "-m", "course_lib.cli", "book", "build"]
            done = subprocess.run(
                command, cwd=copy, env=os.environ | {"PYTHONPATH": str(copy)}, capture_output=True, text=True
            )
            seconds[name] = (
                f"{time.perf_counter() - start:.1f}" if done.returncode == 0 else f"failed: {done.stderr[-200:]}"
            )
    return table(["book", "seconds"], [[n, s] for n, s in seconds.items()])


def homework():
    """Rows of grading solutions of hw01: two at a time, one at a time, and through nbgrader where it is there."""
    sys.path.insert(0, str(HERE.parent / "homework"))
    from handing_in import solved
    from real_nbgrader import BIN, Course, solutions

    from course_lib.homework import source, variants
    from course_lib.homework.grade import grade
    from course_lib.homework.sandbox import Worker

    path, key, seconds = source.find("hw01"), variants.digest(b"bench"), {}
    assignment, students = source.load(path), [f"s{i:03}" for i in range(SUBMISSIONS)]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for student in students:
            (folder / "all" / student).mkdir(parents=True)
            (folder / "all" / student / f"{assignment.name}.ipynb").write_text(solved(assignment, key, student))
        for count, jobs in ((SUBMISSIONS, 2), (20, 1)):
            roster = folder / "roster.csv"
            roster.write_text("student,name\n" + "".join(f"{student},\n" for student in students[:count]))
            start = time.perf_counter()
            grade(folder / "all", path, roster, key, folder / f"out{jobs}", jobs=jobs, progress=False)
            seconds[f"ours, {jobs} at a time"] = time.perf_counter() - start, count
        if BIN.exists():
            course = Course(folder / "course", [path])
            course.run("nbgrader", "generate_assignment", assignment.name)
            for student in students[:20]:
                course.submit(student, assignment.name, solutions(assignment))
            seconds["nbgrader autograde, one at a time"] = course.autograde(assignment.name, seconds=3600), 20
    starts = []
    for _ in range(ROUNDS):
        with Worker() as worker:
            start = time.perf_counter()
            worker.start()
            starts.append(time.perf_counter() - start)
    rows = [[name, str(n), f"{total:.1f}", f"{total / n:.2f}"] for name, (total, n) in seconds.items()]
    rows += [["a worker's start, torch imported", str(ROUNDS), "", f"{statistics.median(starts):.2f}"]]
    rows += [] if BIN.exists() else [["nbgrader", "", "not installed: make nbgrader", ""]]
    return table(["grading", "submissions", "seconds", "seconds each"], rows)


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def versions():
    names = ["torch", "jax", "lightning", "fastai"]
    found = [f"{n} {version(n)}" if find_spec(n) else f"{n} not installed" for n in names]
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else _processor()
    return f"{device}, {CORES} cores · Python {platform.python_version()}, " + ", ".join(found)


def _processor():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main(wanted):
    """Measure the parts whose names begin with a word of `wanted`, or all, and write this device's table."""
    torch.set_num_threads(CORES)
    gpu = DEVICE.type == "cuda"
    runs = {"dense": 1024, "conv": 1024} if gpu else {"dense": 32, "conv": 16}
    parts = {"Sweeps: µs for one run and step": lambda: sweeps(runs, 2000 if not gpu else 400, 400)}
    if not gpu:
        parts["`fit`, one thread"] = fits
        parts["Compiling a sweep's step, one thread"] = compiling
        parts["Building the book"] = book
        parts["Grading solutions of hw01"] = homework
    parts["Rules: one step of 64-128-128-10" + (", one thread" if not gpu else "")] = rules
    chosen = [name for name in parts if not wanted or name.lower().strip("`").startswith(tuple(wanted))]
    write("GPU" if gpu else "CPU", list(parts), {name: parts[name]() for name in chosen})


def write(kind, names, tables):
    """Put the tables into RESULTS.md below this kind of device; what was not measured now stays as it is."""
    path = HERE / "RESULTS.md"
    sections = {"CPU": "Not measured yet.", "GPU": "Not measured yet."}
    if path.exists():
        for part in path.read_text().split("\n## ")[1:]:
            name, _, body = part.partition("\n")
            sections[name] = body.strip()
    line, *old = sections[kind].split("### ")
    line = versions() if len(tables) == len(names) or not old else line.strip()
    parts = {name: part.strip() for part in old for name in names if part.startswith(name)}
    parts |= {name: f"{name} · {datetime.date.today()}\n\n{text}" for name, text in tables.items()}
    sections[kind] = f"{line}\n\n" + "\n\n".join(f"### {parts[name]}" for name in names if name in parts)
    head = """# Benchmarks

Written by `make bench`. Ratios are medians over rounds in which the contestants take turns, with the smallest and the
largest; times are medians. Sweeps are measured as a whole call of `sweep`: building the networks, rates of each run,
validation every 40 steps, history and tables included; the plain loop and JAX do none of these.
"""
    path.write_text(head + "".join(f"\n## {name}\n\n{body}\n" for name, body in sections.items()))
    print(path.read_text())


if __name__ == "__main__":
    main([word.lower() for word in sys.argv[1:]])
