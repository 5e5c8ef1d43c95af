"""The server that a run reports to asks who is there."""

from __future__ import annotations

import pytest

from badc.errors import RequestError
from flows.server.local import PrefectApi

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("given", ["badc:of-another-server", None])
def test_a_server_that_lets_nobody_in_unasked_is_refused_with_the_way_out(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    if given is None:
        monkeypatch.delenv("PREFECT_API_AUTH_STRING")
    else:
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", given)
    with pytest.raises(RequestError, match=r"does not let this shell in.*PREFECT_API_AUTH_STRING"):
        PrefectApi.begin().ready()
