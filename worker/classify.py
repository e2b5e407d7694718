"""The ``classify`` job: every image of a dataset by the votes of the labelled ones, as a CSV."""

import csv

import numpy as np

from core.ground import durable
from core.ground.cells import quoted
from core.jobs import lifecycle
from core.jobs.context import JobContext
from core.search.searcher import Searcher
from core.search.votes import MIN_LABELS, abstention, predict
from core.store.db import BATCH

COLUMNS = ("image_id", "path", "label", "predicted", "confidence")


def classify(context: JobContext) -> None:
    """Write ``runs/<job>/classifications.csv``: image id, path, the label given, the class predicted (empty below the least
    confidence asked for) and its probability. A labelled image does not vote on itself. ``progress`` says how many images
    voted (``k``), or why none did (``abstained``).

    Raises:
        NoModel: the dataset has no model.
        Stopped: cancelled, lost, or the worker is shutting down.
        StaleAttempt: the job has another owner.
    """
    searcher = Searcher(context.settings, context.db)
    with context.db.read() as session:
        job = lifecycle.get(session, context.job_id)
    view = searcher.view(dataset_id=job.dataset_id, model_id=job.params["model_id"])
    snapshot = view.snapshot
    k, temperature, min_labels = job.params["k"], job.params["temperature"], job.params.get("min_labels", MIN_LABELS)
    abstained = abstention(snapshot.classes, snapshot.names, min_labels)
    if k is None and not abstained:
        k = searcher.leave_one_out(view, None, temperature, min_labels).k
    home = context.layout.job(job.id)
    durable.make_folder(home)
    temporary = home / f"classifications-{context.attempt}.tmp"
    voters = snapshot.vectors(snapshot.labelled)
    order = snapshot.live[np.argsort(snapshot.ids[snapshot.live])]  # by image id, as the list of images has them
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for start in range(0, len(order), BATCH):
            context.go_on()
            rows = order[start : start + BATCH]
            guesses, confidences = np.full(len(rows), -1), np.zeros(len(rows))
            if not abstained:
                places = np.minimum(np.searchsorted(snapshot.labelled, rows), len(snapshot.labelled) - 1)
                own_voters = np.where(snapshot.labelled[places] == rows, places, -1)
                arguments = len(snapshot.names), k, temperature
                guesses, confidences = predict(snapshot.vectors(rows), own_voters, voters, snapshot.classes, *arguments)
            for row, guess, confidence in zip(rows.tolist(), guesses, confidences, strict=True):
                sure = not abstained and confidence >= job.params["min_confidence"]
                path, label = snapshot.describe(row)
                texts = (path, label or "", snapshot.names[guess] if sure else "")
                table.writerow([snapshot.ids[row], *map(quoted, texts), f"{confidence:.4f}"])
            with context.write(progress={"images": start + len(rows), "k": k, "abstained": abstained}):
                pass
    durable.replace(temporary, context.layout.classifications(job.id))
    with context.succeed(model_id=view.model_id):
        pass
