"""What a training tells of itself, made up."""

from core.ground import reports

STARTED: reports.Started = {"type": "started", "images": 1, "config": {}, "data": "pixels", "resumed_at": None}
PROGRESS: reports.JobProgress = {"phase": "training", "phase_fraction": 0.0, "fraction": 0.0, "eta_seconds": None}


def epoch(round_: int, number: int, loss: float = 1.0, images_per_second: float = 10.0) -> reports.Epoch:
    return {
        "type": "epoch",
        "round": round_,
        "rounds": 2,
        "epoch": number,
        "epochs": 2,
        "loss": loss,
        "learning_rate": 0.1,
        "images_per_second": images_per_second,
        "anchors": 0.0,
    }
