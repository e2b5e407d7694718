"""What each step of a training job costs, in seconds of an arbitrary reference machine (``worker/training/progress.py``)."""

from collections.abc import Mapping
from dataclasses import dataclass

from core.ground.reports import Step

_PRETRAINED = "efficientnet_lite0"  # what a training is compared with
# s to train on an image of 32 x 32 pixels
_PASS = {"resnet10": 1.3e-3, "resnet18": 5e-3, "resnet34": 9e-3, "resnet50": 13e-3, _PRETRAINED: 1.8e-3}
_FEATURES = {"resnet50": 2048, _PRETRAINED: 1280}  # of the last block; others have 512
_SIDES = (128, 160, 192, 224)  # trainer/config.py: those of the pretrained encoder, the first that is large enough
_AFFORDABLE = 1e9  # pixels: trainer/evaluation/judge.py

Parts = Mapping[Step, float]


@dataclass(frozen=True)
class Work:
    """The sizes on which the cost of a training job depends.

    Attributes:
        side: median of the images' shorter sides, pixels.
        epochs: of all rounds together.
        voters: labelled images of the dataset.
        queries: labelled held-out images; ``None`` where the voters judge each other.
        as_loaded: round 0 is judged with the weights as they were loaded.
        pretrained: the weights of the pretrained encoder, a baseline, are installed.
        crop_size: of training, where it differs from ``image_size``.
    """

    images: int
    side: int
    image_size: int
    backbone: str
    dim: int
    rounds: int
    epochs: int
    voters: int = 0
    queries: int | None = None
    classes: int = 0
    as_loaded: bool = False
    pretrained: bool = False
    crop_size: int | None = None

    @property
    def judged_first(self) -> bool:
        """Whether the evaluation chooses what is published: what the run started from, or what came of it."""
        return self.as_loaded and self.rounds > 1

    def costs(self) -> dict[Step, Parts]:
        """Seconds of each step by what sets their speed: ``epochs``, ``decoding`` or ``starting``."""
        train, encode = (_pass(self.backbone, side) for side in (self.crop_size or self.image_size, self.image_size))
        encode, decode = encode / 4, 2e-4 + 3e-8 * self.side**2
        queries = self.voters if self.queries is None else self.queries
        possible = self.voters >= 2 and queries > 0
        judged = self.voters + (self.queries or 0) if possible else 0
        pairs = self.voters * queries if possible else 0
        vote = pairs * (2e-8 + 4e-11 * self.dim)
        fits = (
            self.voters * self.classes * 8e-8 if possible and self.classes > 1 else 0.0
        )  # for each feature of a linear classifier
        last_block = _FEATURES.get(self.backbone, 512)
        few = sum(20 * min(shot * self.classes * min(queries, 10_000), 5e6) * 1.2e-7 for shot in (1, 5, 10)) if fits else 0.0
        vote += few
        ranked = vote + min(pairs, 2e8) * 1.5e-7
        full = ranked + fits * (self.dim + last_block)
        voter_pairs = self.voters**2  # pairs, where the voters choose what held-out images judge
        choosing = (
            2 * (voter_pairs * (2e-8 + 4e-11 * self.dim) + min(voter_pairs, 2e8) * 1.5e-7 + few)
            if possible and self.queries
            else 0.0
        )
        pixels = ranked + fits * 3 * min(self.image_size, 32) ** 2
        loaded = self.as_loaded or self.epochs == 0  # round 0 has been encoded when the run began
        before = _pass("resnet10", min(self.side, 48)) / 4 if self.backbone == _PRETRAINED else encode
        new_queries = (self.queries or 0) if possible else 0
        first = new_queries if loaded else judged
        mapping = 0.1 if self.images < 50 else 2.0 + 4e-3 * min(self.images, 10_000) + 1e-3 * max(0, self.images - 10_000)
        graph = self.images * 3e-4 if self.images * max(self.dim, 128) > 20_000 * 128 else 0.0
        return {
            "starting": {"starting": 5.0},
            "decoding": {"decoding": self.images * (decode + (encode if loaded else 0.0)) + 0.1},
            "epochs": {"epochs": self.epochs * self.images * train},
            "encoding": {}  # what trained nothing has been encoded
            if loaded and self.rounds == 1
            else {"epochs": self.images * encode, "decoding": self.images * decode},
            "mapping": {"starting": mapping if self.images <= 200_000 else 1.0},
            "writing": {"starting": 8.0 if self.backbone == "resnet10" else 12.0},
            "loading": {"starting": 5.0},
            "rounds": {
                "epochs": (first + (self.rounds - 2) * judged) * encode if self.rounds > 1 else 0.0,
                "decoding": judged * decode if self.rounds > 1 else 0.0,
                "starting": (self.rounds - 1) * (0.1 + vote) + (full if loaded and self.rounds > 1 else 0.0),
            },
            "last": {
                "epochs": (judged if self.rounds > 1 else first) * encode,
                "decoding": 0.0 if self.rounds > 1 else judged * decode,
                "starting": 0.1 + full + (choosing if self.as_loaded and self.rounds > 1 else 0.0),
            },
            "untrained": {"epochs": judged * before, "starting": 0.1 + full},
            "frozen": {} if loaded or not self.pretrained else self._frozen(judged, decode, ranked + fits * (self.dim + 1280)),
            "pixels": {"starting": 0.1 + pixels},
            "indexing": {"starting": 0.3 + graph},
            "publishing": {"starting": 0.3 + self.images * self.dim * 1e-7},
        }

    def _frozen(self, judged: int, decode: float, figures: float) -> Parts:
        """Of the pretrained encoder as it is; nothing where that would take too long."""
        side = next((side for side in _SIDES if side >= self.side), _SIDES[-1])
        if judged * side**2 > _AFFORDABLE:
            return {}
        return {"epochs": judged * _pass(_PRETRAINED, side) / 4, "decoding": judged * decode, "starting": 1.0 + figures}


def _pass(backbone: str, side: int) -> float:
    """Seconds to train on an image."""
    return 2e-4 + _PASS[backbone] * (side / 32) ** 2
