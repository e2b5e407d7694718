"""kNN votes, against a loop."""

import numpy as np
import pytest

from core.votes import leave_one_out, predict, vote


def unit(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 200])
def test_unlabelled_images_are_voted_on_by_k_and_labelled_ones_by_the_others(k: int) -> None:
    voters, classes = unit(3, 0), np.array([0, 1, 0])
    queries = np.concatenate([unit(5, 1), voters])
    own = np.array([-1] * 5 + [0, 1, 2])
    guesses, confidences = predict(queries, own, voters, classes, 2, k, 0.1)
    for at, query in enumerate(queries):
        others = [row for row in range(3) if row != own[at]]
        sims = voters[others] @ query
        best = np.argsort(-sims, kind="stable")[:k]
        expected = vote(sims[best], classes[others][best], 2, 0.1)
        assert guesses[at] == expected.argmax()
        assert confidences[at] == pytest.approx(expected.max(), abs=1e-5)


def test_equal_vectors_vote_on_each_other() -> None:
    voters = np.repeat(unit(2, 2), 3, axis=0)
    judged = leave_one_out(voters, np.array([0, 0, 0, 1, 1, 1]), ["a", "b"], 2, 0.1)
    assert (judged.accuracy, judged.confusion.tolist()) == (1.0, [[3, 0], [0, 3]])
