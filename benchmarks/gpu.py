"""One GPU, nine minutes, unattended: are results right there, how fast do they come, and what does a sweep take?

python benchmarks/gpu.py --minutes 9 --out DIR     (make gpu; --rehearse runs the same on a CPU in about a minute)

Sections run in order of worth, each as a process of its own in its own time box: what hangs or crashes ends alone.
DIR/results.jsonl and DIR/log.txt are written as results come; DIR/table.md is written and printed last.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Sections of one group run at the same time, because only speeds need the device for themselves. Each group is given a
# part of the time that is left, by its weight among those that have not run; what it does not need is left to the others.
CHECKS = ("right", "tests", "compile", "pretrain")
GROUPS = [(("card",), 4), (CHECKS, 29), (("fast",), 40), (("whole",), 27)]
REHEARSAL = [(("card",), 10), ((*CHECKS, "fast", "whole"), 90)]  # Speeds do not matter there.
SECTIONS = [name for names, _ in GROUPS for name in names]
MARGIN_SECONDS = 12.0  # For the table, and for what the system takes to end processes.
MIN_SECONDS = 8.0  # A section is not started with less time.
MAX_STARTS = 6  # A section that crashes goes on with its next item, in a new process.
REQUIREMENTS = (
    "litgpt jsonargparse docstring-parser typeshed-client lightning tokenizers huggingface-hub safetensors tqdm psutil numpy "
    "pandas pyarrow pyyaml rich joblib scipy scikit-learn packaging pytest hypothesis"
)


def main() -> None:
    """Run the sections and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything")
    parser.add_argument("--out", type=Path, default=Path("gpu_results"))
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, help="only these")
    parser.add_argument("--rehearse", action="store_true", help="the same paths, small, on a CPU")
    parser.add_argument("--resume", action="store_true", help="keep what an earlier run in OUT finished, do the rest")
    parser.add_argument("--requirements", action="store_true", help="print the packages that are needed beside torch")
    parser.add_argument("--section", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path[:0] = [
        str(ROOT),
        str(ROOT / "benchmarks"),
    ]  # Under PYTHONSAFEPATH a script's own folder is not on the path.
    if options.requirements:
        print("\n".join(REQUIREMENTS.split()))
        return
    if options.section:
        from gpu_sections import run_section

        run_section(options.section, options.out, options.folder, options.deadline, options.rehearse)
        return
    if options.rehearse:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    sys.exit(run_all(options.out.resolve(), options.minutes, options.sections, options.rehearse, options.resume))


def run_all(out: Path, minutes: float, only: list[str] | None, rehearse: bool, resume: bool = False) -> int:
    """Every group of sections within its share of the time; 1 if something that ran was wrong."""
    out.mkdir(parents=True, exist_ok=True)
    kept = [line for line in read_results(out) if resume and line["state"] == "done"]
    kept = [line for line in kept if line["name"] != "imports" and line["section"] != "bars"]
    for stale in ("results.jsonl", "log.txt", "table.md"):
        (out / stale).unlink(missing_ok=True)
    with (out / "results.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in kept)
    end = time.time() + 60 * minutes - MARGIN_SECONDS
    everything = REHEARSAL if rehearse else GROUPS
    groups = [(tuple(name for name in names if not only or name in only), weight) for names, weight in everything]
    groups = [(names, weight) for names, weight in groups if names]
    folder = Path(tempfile.mkdtemp(prefix="proxymix-gpu-"))
    try:
        for number, (names, weight) in enumerate(groups):
            left = end - time.time()
            box = left * weight / sum(other for _, other in groups[number:])
            run_group(names, out, folder, time.time() + box, rehearse)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.path.insert(0, str(ROOT))
    from gpu_bars import bars
    from gpu_table import table, wrong

    with (out / "results.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in bars(read_results(out)))
    found = read_results(out)
    text = table(found)
    (out / "table.md").write_text(text, encoding="utf-8")
    print(text, flush=True)
    return 1 if wrong(found) else 0


def run_group(names: tuple[str, ...], out: Path, folder: Path, deadline: float, rehearse: bool) -> None:
    """Run sections at the same time until all have ended or the deadline has come."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    starts = dict.fromkeys(names, 0)
    began = time.time()
    try:
        waiting = list(names)
        while (waiting or running) and time.time() < deadline:
            for name in waiting:
                running[name] = start(name, out, folder, deadline, rehearse)
                starts[name] += 1
            waiting = []
            time.sleep(0.05)
            for name, process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[name]
                again = code != 0 and starts[name] < MAX_STARTS and deadline - time.time() > MIN_SECONDS
                note(out, name, f"ended with exit status {code} after {time.time() - began:.0f} s", again)
                waiting += [name] if again else []
        for name in running:
            note(out, name, f"stopped at the end of its {deadline - began:.0f} s", False)
    finally:
        for process in running.values():
            kill(process)


def start(name: str, out: Path, folder: Path, deadline: float, rehearse: bool) -> "subprocess.Popen[bytes]":
    """Start a section's process. All sections share their caches, and nothing else does."""
    command = [sys.executable, str(Path(__file__).resolve()), "--section", name, "--out", str(out)]
    command += ["--folder", str(folder), "--deadline", str(deadline), *(["--rehearse"] if rehearse else [])]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "WANDB_MODE": "disabled",
    }
    if rehearse:  # Sections share few cores.
        environment["OMP_NUM_THREADS"] = "1"
    with (out / "log.txt").open("ab") as log:
        log.write(f"\n== {name}\n".encode())
        log.flush()
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True, cwd=ROOT)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a section and every process that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def note(out: Path, section: str, text: str, again: bool) -> None:
    """Write a line to the log, the results and the terminal."""
    line = f"{section}: {text}{'; it goes on with what is left' if again else ''}"
    print(line, flush=True)
    with (out / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"== {line}\n")
    with (out / "results.jsonl").open("a", encoding="utf-8") as results:
        results.write(json.dumps({"section": section, "name": "section", "state": "note", "text": line}) + "\n")


def read_results(out: Path) -> list[dict[str, Any]]:
    """What was recorded so far, without a last line that is incomplete."""
    found = []
    path = out / "results.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


if __name__ == "__main__":
    main()
