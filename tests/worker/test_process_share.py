from __future__ import annotations

import os
import subprocess
import sys

import pytest

from app.core.settings import Settings
from worker.process_share import cores_of, network_threads, usable_cores

ON_ONE_CORE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from app.core.settings import Settings
from worker.process_share import cores_of, network_threads, usable_cores
print(usable_cores(), cores_of(Settings()), network_threads(Settings()))
"""
# The second thread must find the memory of the first, which is still there: 3 MB are 732 pages.
IN_THREADS = """
import resource, threading
import numpy as np
from worker.process_share import settle_process
settle_process()
counts, end = [], threading.Event()
def work(done):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.empty(3_000_000, np.uint8).fill(1)
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    done.set()
    end.wait()
threads = []
for _ in range(2):
    done = threading.Event()
    threads.append(threading.Thread(target=work, args=[done]))
    threads[-1].start()
    done.wait()
end.set()
print(*counts)
"""


def numbers_of(program: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return [int(word) for word in done.stdout.split()]


def test_a_process_has_its_part_of_the_cores() -> None:
    cores = usable_cores()
    assert 1 <= cores <= len(os.sched_getaffinity(0))
    assert cores_of(Settings(workers=1)) == cores
    assert cores_of(Settings(workers=cores)) == cores_of(Settings(workers=10 * cores)) == 1
    assert network_threads(Settings(workers=1)) == max(1, cores // 2)
    assert network_threads(Settings(workers=10 * cores)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds processes to cores")
def test_a_process_that_is_bound_to_one_core_uses_one() -> None:
    assert numbers_of(ON_ONE_CORE) == [1, 1, 1]


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="only glibc has mallopt")
def test_threads_use_memory_again_instead_of_asking_the_system_for_it() -> None:
    assert numbers_of(IN_THREADS)[1] < 200
