"""Calls functions in forked children: everything is imported once, and each call has a process and a time limit.

Reads a request a line and answers with a line, both JSON. Started by `sandbox.Sandbox`. A request either is a call, and
its answer how that ended; or it starts a command that goes on by itself, and its answer is the number of the process.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import resource
import runpy
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import numpy

_IMPORTED = ["lalora.cli.app", "lalora.report", "lalora.study.single.train", "trl", "lm_eval.tasks"]


def serve() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    # Else a child's search for garbage would touch, and so copy, everything that was imported.
    gc.collect()
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(_start(request) if "status" in request else _answer(request)), file=answers, flush=True)
    _bury()


_watching: list[int] = []


def _start(request: dict[str, Any]) -> dict[str, int]:
    _bury()
    told, tells = os.pipe()
    watch = os.fork()
    if watch == 0:
        child = os.fork()
        if child == 0:
            _enter(request["out"], request["err"], request["environment"])
            os.write(tells, str(os.getpid()).encode())  # it can be killed, and what it says can be read
            _command(request)  # leaves by the end of the interpreter, as any command does
        _, status = os.waitpid(child, 0)
        Path(request["status"] + ".part").write_text(str(os.waitstatus_to_exitcode(status)))
        os.rename(request["status"] + ".part", request["status"])
        os._exit(0)
    _watching.append(watch)
    pid = int(os.read(told, 100))
    os.close(told)
    os.close(tells)
    return {"pid": pid}


def _bury() -> None:
    _watching[:] = [pid for pid in _watching if os.waitpid(pid, os.WNOHANG) == (0, 0)]


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


def _enter(out: str, err: str, environment: dict[str, str]) -> None:
    """Makes this process one of its own, with its streams and environment."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    numpy.random.seed()
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding=encoding, errors="strict" if number == 1 else "backslashreplace")
        for number, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    os.environ.update(environment)


def _command(request: dict[str, Any]) -> None:
    if request["file_limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"], resource.RLIM_INFINITY))
    sys.argv = request["argv"]
    if request["argv"][0].endswith(".py"):
        sys.path.insert(0, str(Path(request["argv"][0]).parent))
        runpy.run_path(request["argv"][0], run_name="__main__")
    else:
        runpy.run_module(request["argv"][0], run_name="__main__", alter_sys=True)
    sys.exit(0)


def _child(request: dict[str, Any], folder: Path) -> None:
    _enter(str(folder / "out"), str(folder / "err"), request["environment"])
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
