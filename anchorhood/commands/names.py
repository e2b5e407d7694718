"""Names where ids are asked for: a dataset by its name, a job by its own, a model by that of the job that trained it."""

import re
from typing import overload

from anchorhood.client import Client
from anchorhood.errors import AnchorhoodError
from anchorhood.values import sendable

_ID = re.compile(r"(ds|job|mdl)_[0-9a-f]+")


class UnclearName(AnchorhoodError):
    """A name that nothing has, or that several have."""


@overload
def dataset_id(client: Client, text: str) -> str: ...
@overload
def dataset_id(client: Client, text: str | None) -> str | None: ...
def dataset_id(client: Client, text: str | None) -> str | None:
    """The id of the dataset that is called so; an id, and ``None``, as they are.

    Raises:
        UnclearName: none is, or several are.
    """
    if text is None or _ID.fullmatch(text):
        return text
    return _only("dataset", text, [dataset.id for dataset in client.datasets.list(name=sendable(text))])


def job_id(client: Client, text: str) -> str:
    """The same of a job."""
    name = sendable(text)
    return text if _ID.fullmatch(text) else _only("job", text, [job.id for job in client.jobs.list() if job.name == name])


@overload
def model_id(client: Client, text: str) -> str: ...
@overload
def model_id(client: Client, text: str | None) -> str | None: ...
def model_id(client: Client, text: str | None) -> str | None:
    """The same of a model, by the name of its job."""
    if text is None or _ID.fullmatch(text):
        return text
    jobs = {job.id for job in client.jobs.list(kind="train") if job.name == sendable(text)}
    return _only("model", text, [model.id for model in client.models.list() if model.job_id in jobs])


def _only(kind: str, name: str, ids: list[str]) -> str:
    if len(ids) == 1:
        return ids[0]
    if not ids:
        raise UnclearName(f"there is no {kind} {name}")
    raise UnclearName(f"{len(ids)} {kind}s are called {name}; name one by its id: {', '.join(ids)}")
