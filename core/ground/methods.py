"""The methods that learn an encoder: name, what each does, and which parameters only some of them have, each once.

What they compute is in ``trainer/methods/``.
"""

from dataclasses import dataclass

_LEAST_COLOURED = 0.05  # of a collection's images, for a method that learns from colours
_ANCHORS = frozenset({"select_rate", "neighbours", "neighbour_loss", "discovery_features", "temperature_next", "memory_momentum"})


@dataclass(frozen=True)
class MethodFacts:
    """What is known of a method without loading it.

    Attributes:
        title: its name in texts.
        about: what it does, as the end of a sentence that begins with the title.
        parameters: those that it has, of the parameters that not all methods have.
        one_round: whether it learns in one round, as long as all of AND's together.
        views: augmented views of every image in a step.
        trains_head: whether the encoder's head learns; if not, it is the projection on the principal components of the features,
            found anew at the end of each round.
        trains: whether anything is trained.
        reads_labels: whether it learns from the images' labels.
        needs_colour: whether grey images teach it nothing.
        takes_init: whether it may start from weights that have learned already.
    """

    title: str
    about: str
    parameters: frozenset[str] = frozenset()
    one_round: bool = True
    views: int = 1
    trains_head: bool = True
    trains: bool = True
    reads_labels: bool = False
    needs_colour: bool = False
    takes_init: bool = True


METHODS: dict[str, MethodFacts] = {
    "and": MethodFacts("AND", "discovers anchor neighbourhoods (Huang et al. 2019)", _ANCHORS, one_round=False),
    "instance": MethodFacts(
        "Instance discrimination", "tells all images apart, by the full softmax (Wu et al. 2018)", _ANCHORS, one_round=False
    ),
    "random_anchors": MethodFacts("Random anchors", "is AND with as many anchors chosen at random", _ANCHORS, one_round=False),
    "all_anchors": MethodFacts("All anchors", "is AND with every image an anchor", _ANCHORS, one_round=False),
    "superand": MethodFacts(
        "Super-AND",
        "is AND of two views with a unification entropy and an augmentation loss (Han et al. 2020)",
        _ANCHORS | {"unification_loss", "augmentation_loss"},
        one_round=False,
        views=2,
    ),
    "instance_nce": MethodFacts(
        "Instance discrimination by NCE",
        "tells an image from sampled others (Wu et al. 2018)",
        frozenset({"memory_momentum", "noise_samples", "proximal_weight"}),
    ),
    "simclr": MethodFacts(
        "SimCLR",
        "tells two views of an image from those of the others in its batch (Chen et al. 2020)",
        views=2,
        trains_head=False,
    ),
    "deepcluster": MethodFacts(
        "DeepCluster",
        "learns to tell the clusters of its own features (Caron et al. 2018)",
        frozenset({"clusters", "sobel"}),
        trains_head=False,
    ),
    "splitbrain": MethodFacts(
        "Split-Brain",
        "predicts an image's colours from its lightness and the reverse (Zhang et al. 2017)",
        frozenset({"split_loss"}),
        trains_head=False,
        needs_colour=True,
        takes_init=False,
    ),
    "bigan": MethodFacts("BiGAN", "learns to invert a generator of pictures (Donahue et al. 2017)", takes_init=False),
    "supervised": MethodFacts(
        "Supervised", "READS THE LABELS: it is the ceiling, not a way to learn without them", trains_head=False, reads_labels=True
    ),
    "random": MethodFacts(
        "Untrained", "trains nothing: random weights, the floor", trains_head=False, trains=False, takes_init=False
    ),
    "frozen": MethodFacts(
        "Frozen", "trains nothing: the images are made searchable by the weights of init as they are", _ANCHORS, trains=False
    ),
}
_OF_SOME = frozenset().union(*(facts.parameters for facts in METHODS.values()))


def has(method: str, parameter: str) -> bool:
    """Whether a method has a parameter."""
    return parameter not in _OF_SOME or parameter in METHODS[method].parameters


def too_grey(method: str, grey: int, images: int) -> str | None:
    """The reason why a method that needs colours cannot learn from images of which so many are grey, or ``None`` where it can."""
    if images - grey >= _LEAST_COLOURED * images:
        return None
    return f"method: {method} learns from colours, and {grey:,} of {images:,} images are grey; choose another"
