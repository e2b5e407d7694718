"""The API against its own description, by schemathesis: no server error, no status or body that is not documented."""

import json
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.service.conftest import Published

pytestmark = pytest.mark.slow
DOCUMENT = json.loads((Path(__file__).parents[2] / "docs/openapi.json").read_text())
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
schema = schemathesis.openapi.from_dict(DOCUMENT)


@schema.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_documented(case: schemathesis.Case, published: Published) -> None:
    case.call_and_validate(base_url=str(published.live.client.base_url), checks=CHECKS, timeout=60)
