"""Many sessions, one after the other and from many threads, leave nothing behind and change no bit."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from layer_models import Layer, open_model, packed_model, plain_model

# Bytes that malloc has given out are counted, not pages: what one session leaves behind is seen at once.
COUNT_BYTES = """
import ctypes, gc, sys
sys.path[:0] = {path!r}
from layer_models import Layer, open_model, packed_model, plain_model

class Account(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

def in_use():
    gc.collect()
    account = mallinfo2()
    return account.uordblks + account.hblkhd

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Account
layer = Layer()
model, x = {make}(layer), layer.rows(1, 3)

def open_and_close(count):
    for _ in range(count):
        open_model(model).run(None, {{"X": x}})

open_and_close(100)
grown = []
for _ in range(4):
    before = in_use()
    open_and_close(250)
    grown.append((in_use() - before) / 250)
print(min(grown))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc for its account of memory")
@pytest.mark.parametrize("make", ["plain_model", "packed_model"])
def test_a_thousand_sessions_leave_nothing_behind(make: str) -> None:
    code = COUNT_BYTES.format(path=sys.path, make=make)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    # The least growth a session: tables of Python and the runtime grow in leaps, a leak grows every time.
    # The runtime keeps 30 to 60 bytes of a session with built-in operators alone; a kernel has 150 or more.
    assert float(run.stdout) < 100


@pytest.mark.parametrize("make", [plain_model, packed_model], ids=["plain", "packed"])
@pytest.mark.parametrize("dtype", [1, 10, 11], ids=["float32", "float16", "float64"])
@pytest.mark.parametrize("runtime_threads", [1, 2])
def test_sixteen_threads_on_one_session_change_no_bit(make: object, dtype: int, runtime_threads: int) -> None:
    layer = Layer(130, 200, (2, 3), 170)
    session = open_model(make(layer, dtype=dtype), threads=runtime_threads)  # type: ignore[operator]
    element = {1: np.float32, 10: np.float16, 11: np.float64}[dtype]
    inputs = [(layer.rows(1, rows) / 1000).astype(element) for rows in (1, 7, 71, 150)]
    expected = [session.run(None, {"X": x})[0] for x in inputs]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda index: session.run(None, {"X": inputs[index % 4]})[0], range(160)))
    for index, y in enumerate(found):
        np.testing.assert_array_equal(y, expected[index % 4])


def test_sessions_are_opened_and_closed_on_sixteen_threads() -> None:
    layer = Layer()
    model, x = packed_model(layer), layer.rows(1, 90)
    (expected,) = open_model(model).run(None, {"X": x})
    with ThreadPoolExecutor(16) as pool:
        for (y,) in pool.map(lambda _: open_model(model).run(None, {"X": x}), range(64)):
            np.testing.assert_array_equal(y, expected)
