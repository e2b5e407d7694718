"""kNN votes, against a loop."""

import numpy as np
import pytest

from core.search.ranking import compare
from core.search.votes import KS, Judged, abstention, leave_one_out, predict, vote


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
    assert (judged.accuracy, judged.classes, judged.confusions) == (1.0, [Judged("a", 3, 3), Judged("b", 3, 3)], [])


def with_equal_ones(count: int) -> np.ndarray:
    """Half of the rows are one vector, so that any number of voters cuts through equal ones."""
    voters = unit(count, 3)
    voters[::2] = voters[0]
    return voters


def loop(voters: np.ndarray, classes: np.ndarray, query: int, k: int, count: int) -> np.ndarray:
    others = np.delete(np.arange(len(voters)), query)
    sims = compare(voters[others], voters[query])
    best = np.lexsort((others, -sims))[:k]
    return vote(sims[best], classes[others][best], count, 0.1)


@pytest.mark.parametrize("k", [1, 5, 50, 199])
def test_of_equal_voters_the_first_vote(k: int) -> None:
    voters, classes = with_equal_ones(200), np.arange(200) * 7 // 5 % 3
    for part in (np.arange(200), np.arange(100, 140), np.array([7])):
        guesses, confidences = predict(voters[part], part, voters, classes, 3, k, 0.1)
        expected = [loop(voters, classes, query, k, 3) for query in part.tolist()]
        assert guesses.tolist() == [int(one.argmax()) for one in expected]
        assert confidences.tolist() == [one.max() for one in expected]


def test_the_most_accurate_number_of_voters_is_chosen() -> None:
    voters = with_equal_ones(120)
    classes = (voters[:, 0] > 0.3) + np.arange(120) % 5 // 4
    judged = leave_one_out(voters, classes, ["a", "b", "c"], None, 0.1)
    assert list(judged.by_k) == [k for k in KS if k < 120]
    for k, accuracy in judged.by_k.items():
        right = [int(loop(voters, classes, row, k, 3).argmax()) == classes[row] for row in range(120)]
        assert accuracy == pytest.approx(np.mean(right))
        assert leave_one_out(voters, classes, ["a", "b", "c"], k, 0.1).accuracy == accuracy
    assert judged.k == max(k for k in judged.by_k if judged.by_k[k] == max(judged.by_k.values()))
    assert (judged.accuracy, judged.judged, judged.abstained) == (max(judged.by_k.values()), 120, None)
    assert sum(one.right for one in judged.classes) == round(120 * max(judged.by_k.values()))


@pytest.mark.parametrize(
    ("labels", "min_labels", "reason"),
    [
        ("", 3, "needs at least two classes with three labels each; no image has a label yet"),
        ("aaaaaaa", 3, "needs at least two classes with three labels each; so far there are: a 7"),
        ("aaabb", 3, "needs at least two classes with three labels each; so far there are: a 3, b 2"),
        ("abcdee", 2, "needs at least two classes with two labels each; so far there are: e 2, a 1, b 1, and 2 more"),
        ("a", 1, "needs at least two classes with one label each; so far there are: a 1"),
        ("aaabbb", 11, "needs at least two classes with 11 labels each; so far there are: a 3, b 3"),
        ("aaabbb", 3, None),
        ("ab", 1, None),
    ],
)
def test_votes_abstain_before_there_is_evidence(labels: str, min_labels: int, reason: str | None) -> None:
    names = sorted(set(labels))
    classes = np.array([names.index(label) for label in labels], np.int64)
    assert abstention(classes, names, min_labels) == reason
    judged = leave_one_out(unit(len(labels), 4), classes, names, None, 0.1, min_labels)
    assert judged.abstained == reason
    assert (judged.k is None, judged.accuracy is None, judged.by_k == {}) == (reason is not None,) * 3
    assert judged.judged == sum(one.judged for one in judged.classes) == (0 if reason else len(labels))


def test_confusions_of_many_classes_come_with_the_largest_first() -> None:
    """1,200 classes of three images; those of the first 40 are taken for the class after them, of every fifth twice."""
    names = [f"class {number:04}" for number in range(1200)]
    classes = np.repeat(np.arange(1200), 3)
    places = classes.copy()
    for number in range(0, 40, 2):
        places[3 * number : 3 * number + (2 if number % 5 == 0 else 1)] = number + 1
    voters = unit(1200, 64)[places] + 1e-3 * unit(3600, 64)
    voters /= np.linalg.norm(voters, axis=1, keepdims=True)
    judged = leave_one_out(voters.astype(np.float32), classes, names, 1, 0.1)
    wrong = sum(one.count for one in judged.confusions)
    assert len(judged.confusions) < 100 and wrong == sum(one.judged - one.right for one in judged.classes) > 0
    assert [one.count for one in judged.confusions] == sorted((one.count for one in judged.confusions), reverse=True)
    assert judged.accuracy == 1 - wrong / judged.judged
