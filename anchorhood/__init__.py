"""The Python client of an Anchorhood service.

from anchorhood import Client

client = Client("http://127.0.0.1:8000", key=None)
dataset = client.datasets.upload("photos/").wait()
job = client.jobs.create(dataset, pretrained=True).wait(progress=True)
for found in client.neighbours("query.jpg", k=5):
    print(found.score, found.path)
"""

from anchorhood.arrays import Attention, AttentionRound, Embeddings, Map
from anchorhood.client import Client
from anchorhood.errors import AnchorhoodError, ApiError, JobFailed, Unreachable
from anchorhood.jobs import Event, Job
from anchorhood.packing import LeftOut
from anchorhood.records import (
    AuditLine,
    Classification,
    ClassProbability,
    Dataset,
    Image,
    LeaveOneOut,
    Model,
    Neighbour,
    Neighbours,
    Rejection,
)

__all__ = [
    "AnchorhoodError",
    "ApiError",
    "Attention",
    "AttentionRound",
    "AuditLine",
    "ClassProbability",
    "Classification",
    "Client",
    "Dataset",
    "Embeddings",
    "Event",
    "Image",
    "Job",
    "JobFailed",
    "LeaveOneOut",
    "LeftOut",
    "Map",
    "Model",
    "Neighbour",
    "Neighbours",
    "Rejection",
    "Unreachable",
]
