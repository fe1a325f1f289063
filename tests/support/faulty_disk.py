"""A disk that fails, or a process that is killed, at a chosen moment."""

from __future__ import annotations

import os
from typing import Any

import pytest

from rayflow.store.folders import local
from rayflow.values.filesystems import atomic_writes, fsync


class Killed(BaseException):
    """The process is gone: nothing after this point happens, not even clean-up."""


class FaultyDisk:
    """Stands in for `os` where a store is written: counts what changes the disk, and at one count kills or fails."""

    COUNTED = ("open", "write", "fsync", "rename", "link", "unlink", "makedirs")

    def __init__(self, at: int, number: int | None) -> None:
        self.at = at
        self.number = number
        self.count = 0
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.COUNTED:
            return real

        def counted(*args: Any, **options: Any) -> Any:
            if self.dead:
                raise Killed
            self.count += 1
            if self.count == self.at:
                if self.number is not None:
                    raise OSError(self.number, os.strerror(self.number))
                self.dead = True
                if name == "write":
                    real(args[0], memoryview(args[1])[: max(1, len(args[1]) // 2)])
                raise Killed
            return real(*args, **options)

        return counted


class FullDisk(FaultyDisk):
    """A disk on which every change fails, with this error. count: how many have failed."""

    def __init__(self, number: int) -> None:
        super().__init__(0, number)

    def __getattr__(self, name: str) -> Any:
        self.at = self.count + 1
        return super().__getattr__(name)


def use_disk(monkeypatch: pytest.MonkeyPatch, disk: Any) -> None:
    """Let all that writes a store's folder go through this disk: a FaultyDisk, or `os` again."""
    for module in (local, atomic_writes, fsync):
        monkeypatch.setattr(module, "os", disk)
