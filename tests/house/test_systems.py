"""Every module can be imported on a system that is not Unix; what only Unix has, is asked for where it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

LACKING_MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")

PROGRAM = """
import builtins, importlib, pkgutil, signal, sys, types

LACKING = {
    "os": {
        "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "WIFEXITED", "chown", "fork", "getegid", "geteuid",
        "getgid", "getloadavg", "getpgid", "getpgrp", "getuid", "killpg", "mkfifo", "nice", "openpty", "posix_fadvise",
        "pread", "register_at_fork", "sched_getaffinity", "set_blocking", "setsid", "statvfs", "sysconf", "uname",
        "waitid",
    },
    "signal": {
        "ITIMER_REAL", "SIG_BLOCK", "SIG_SETMASK", "alarm", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait",
        *({name for name in dir(signal) if name.startswith("SIG") and "_" not in name}
          - {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"}),
    },
    "time": {"CLOCK_BOOTTIME", "CLOCK_MONOTONIC", "clock_gettime"},
}
ABSENT = sys.argv[1:]
whole = builtins.__import__
parts = {}
for name, lacking in LACKING.items():
    parts[name] = types.ModuleType(name)
    vars(parts[name]).update({each: value for each, value in vars(whole(name)).items() if each not in lacking})


def imported(name, globals=None, locals=None, fromlist=(), level=0):
    if not level and str((globals or {}).get("__name__")).partition(".")[0] == "rayflow":
        if name in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in parts:
            return parts[name]
    return whole(name, globals, locals, fromlist, level)


builtins.__import__ = imported
import rayflow

count = 0
for module in pkgutil.walk_packages(rayflow.__path__, "rayflow."):
    count += 1
    try:
        importlib.import_module(module.name)
    except (AttributeError, ImportError) as error:
        print(f"{module.name}: {error}")
print(count)
"""


@pytest.mark.slow
def test_no_module_needs_more_of_the_system_at_its_import_than_windows_has() -> None:
    program = [sys.executable, "-c", PROGRAM, *LACKING_MODULES]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    *failed, count = done.stdout.splitlines() or [""]
    assert failed == [] and int(count or 0) > 300, done.stderr
