"""One mesh per test module, so that tests of one module see each other's workloads and no others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mesh import harness


@pytest.fixture(scope="module")
def mesh() -> Iterator[harness.Mesh]:
    with harness.mesh() as made:
        yield made
