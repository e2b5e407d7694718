"""Answers as tests look at them."""

import httpx

JSON = {"Content-Type": "application/json"}


def problem(response: httpx.Response, status: int, code: str, method: str = "GET") -> str:
    """The detail of a problem document, which it is and has nothing but in answer to HEAD."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    if method == "HEAD":
        return ""
    body = response.json()
    assert {"type", "title", "status", "detail", "code"} <= set(body)
    assert (body["status"], body["code"]) == (status, code)
    detail: str = body["detail"]
    return detail
