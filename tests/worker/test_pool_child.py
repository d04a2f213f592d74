from __future__ import annotations

import os
from typing import Any

import pytest

from app.core.settings import Settings
from worker.pool_child import PoolChild, WorkerParts


@pytest.fixture
def child() -> PoolChild:
    no_parts: Any = [None] * 5
    return PoolChild(Settings(), WorkerParts(*no_parts))


def test_a_task_outside_a_started_child_is_refused(child: PoolChild) -> None:
    with pytest.raises(RuntimeError, match="outside a pool child"):
        _ = child.runtime


def test_the_signal_to_stop_reaches_a_forked_child(child: PoolChild) -> None:
    reader, writer = os.pipe()
    go_reader, go_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(go_reader, 1)  # until the parent has signalled
        os.write(writer, b"1" if child.is_stopping() else b"0")
        os._exit(0)
    assert not child.is_stopping()
    child.stop_all()
    os.write(go_writer, b"x")
    assert os.read(reader, 1) == b"1"
    os.waitpid(pid, 0)
    for descriptor in (reader, writer, go_reader, go_writer):
        os.close(descriptor)
