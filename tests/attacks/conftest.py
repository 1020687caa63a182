"""Whether an attempt to break it is one of many, and how it is counted; see `ledger`."""

from collections.abc import Iterator

import pytest
from attacks.ledger import Attempts


@pytest.fixture
def attempt(record_property) -> Iterator[Attempts]:
    attempts = Attempts()
    yield attempts
    record_property("attempts", attempts.counts)
    assert not attempts.failures, "\n\n".join(attempts.failures)
