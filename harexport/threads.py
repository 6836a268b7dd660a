"""One thread for NumPy's matrix products."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside of this, BLAS uses one thread.

    Our matrices are small: a second thread gains nothing, and where another process wants that core the two wait
    for each other at every product (the float64 reference of the seed model then takes 50 seconds instead of 1.5).
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
