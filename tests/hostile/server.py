"""Calls functions in forked children: everything is imported once, and each call has a process and a time limit.

Reads a request a line and answers with a line, both JSON. Started by `sandbox.Sandbox`.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

_IMPORTED = ["lalora.cli.app", "lalora.report", "lalora.study.single.train", "trl", "lm_eval.tasks"]


def serve() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), file=answers, flush=True)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            _child(request, folder)
        code, late = _awaited(child, started + request["timeout"])
        kept = folder / "value.json"
        return {
            "code": code,
            "timed_out": late,
            "seconds": time.monotonic() - started,
            "out": (folder / "out").read_bytes().decode("utf-8", "surrogateescape"),
            "err": (folder / "err").read_bytes().decode("utf-8", "surrogateescape"),
            **(json.loads(kept.read_text()) if kept.exists() else {"value": None, "grown": 0}),
        }


def _awaited(child: int, deadline: float) -> tuple[int, bool]:
    late = False
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), late
        if not late and time.monotonic() > deadline:
            late = True
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.002)


def _child(request: dict[str, Any], folder: Path) -> None:
    os.setsid()
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    encoding = request["environment"].get("PYTHONIOENCODING", "utf-8")
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding=encoding, errors="strict" if number == 1 else "backslashreplace")
        for number, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    os.environ.update(request["environment"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    value, code = None, 0
    try:
        os.chdir(request["cwd"] or folder)
        module, _, function = request["call"].partition(":")
        if "argv" in request:
            sys.argv = request["argv"]
            getattr(importlib.import_module(module), function)()
        else:
            value = getattr(importlib.import_module(module), function)(*request["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    (folder / "value.json").write_text(json.dumps({"value": value, "grown": grown}))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
