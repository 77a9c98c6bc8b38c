"""Whatever follows the OpenAPI description, or breaks it, ends without a status of 500."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode

from tests.serve.server import Counting, serving
from vqa.alignment.dual_encoder import DualEncoder

MODES = list(GenerationMode)  # bodies that fit the description, and such as do not


@pytest.fixture(scope="module")
def description(space: DualEncoder) -> Iterator[Any]:
    """What the server says of itself."""
    with serving({"c": Counting(0)}, space=space) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


def try_all(description: Any, examples: int, derandomize: bool) -> None:
    """Send so many requests of each mode to each operation."""
    operations = [result.ok() for result in description.get_all_operations()]
    assert {"POST /v1/chat/completions", "POST /v1/embeddings", "GET /v1/models/{name}"} <= {
        operation.label for operation in operations
    }
    for operation in operations:
        for mode in MODES if list(operation.body) else [GenerationMode.POSITIVE]:

            @settings(
                max_examples=examples,
                deadline=None,
                derandomize=derandomize,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case: Any) -> None:
                case.call_and_validate(checks=[not_a_server_error])

            send()


def test_no_request_is_a_failure_of_the_server(description: Any) -> None:
    try_all(description, 12, derandomize=True)


@pytest.mark.slow
def test_none_of_many_requests_is(description: Any) -> None:
    try_all(description, 1000, derandomize=False)
