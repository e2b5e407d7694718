"""Bodies of requests and answers, as the OpenAPI document shows them.
Pydantic models alone; no session, no file."""
