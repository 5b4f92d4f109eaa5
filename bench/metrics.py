"""Recall, latency and operating points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annlib.datasets import Dataset, pair_distances

Array = NDArray[Any]

#: By how much a distance may exceed the k-th true one and count as equal: the rounding of float32 answers,
#: absolute for cosine, relative for the metrics that have a scale. ann-benchmarks adds 0.001 to every
#: threshold, which on sets with close neighbours counts wrong answers as right.
EPSILON = 1e-6


def without_repeats(neighbors: Array) -> Array:
    """The same answers with an id that comes twice in a row replaced by -1: it counts once."""
    result: Array = neighbors.copy()
    order = np.argsort(result, axis=1, kind="stable")
    ranked = np.take_along_axis(result, order, axis=1)
    repeats = np.zeros(result.shape, dtype=bool)
    np.put_along_axis(repeats, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], axis=1)
    result[repeats] = -1
    return result


def answer_distances(dataset: Dataset, neighbors: Array) -> NDArray[np.float64]:
    """Distances (annlib's) of answers (q, k) to the first q queries, computed in float64; infinity for -1."""
    result = np.full(neighbors.shape, np.inf)
    for row, (ids, query) in enumerate(zip(neighbors, dataset.test, strict=False)):
        real = (ids >= 0) & (ids < len(dataset.train))
        result[row, real] = pair_distances(dataset.train[ids[real]], query, dataset.metric)
    return result


def thresholds(dataset: Dataset, queries: int, k: int, epsilon: float = EPSILON) -> NDArray[np.float64]:
    """The largest distance of a right answer to every one of the first queries, shape (q,).

    Where there are fewer than k neighbours, -1 in the place of the others, the last of them is the limit.
    """
    distances = answer_distances(dataset, dataset.neighbors[:queries, :k])
    kth = np.where(np.isfinite(distances), distances, -np.inf).max(axis=1)
    scale = 1.0 if dataset.metric == "cosine" else np.abs(kth)
    return np.asarray(kth + epsilon * scale)


def recall(distances: Array, limits: Array) -> float:
    """Share of the answers (q, k) no farther than the limits (q,): ties with the k-th neighbour are right."""
    return float((distances <= limits[:, None]).mean()) if distances.size else 0.0


def latency(times: Array) -> dict[str, float]:
    """Queries per second, and milliseconds: mean, median and tails."""
    p50, p95, p99 = np.percentile(times, [50, 95, 99]) * 1e3
    mean = float(times.mean())
    return {
        "qps": 1 / mean,
        "mean_ms": mean * 1e3,
        "p50_ms": float(p50),
        "p95_ms": float(p95),
        "p99_ms": float(p99),
    }


Point = tuple[float, float]


def pareto(points: Sequence[Point]) -> list[Point]:
    """The (recall, qps) points that no other beats in both, by rising recall."""
    front: list[Point] = []
    for point in sorted(points, reverse=True):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]


def qps_at(points: Sequence[Point], target: float) -> float | None:
    """QPS at a recall, between two points of the front along a line in (recall, log QPS).

    None where no point reaches the target. Where all exceed it, the fastest of them: nothing is extrapolated.
    """
    front = pareto(points)
    found = between([reached for reached, _ in front], target)
    if found is None:
        return None
    low, high, share = found
    if low == high:
        return front[high][1]
    return math.exp((1 - share) * math.log(front[low][1]) + share * math.log(front[high][1]))


def between(recalls: Sequence[float], target: float) -> tuple[int, int, float] | None:
    """Which two of rising recalls a target lies between, and at what share of the way from the first to the second.

    None where none reaches it. Twice the same one where it is the target, or where all exceed that.
    """
    high = next((i for i, reached in enumerate(recalls) if reached >= target), None)
    if high is None:
        return None
    if high == 0 or recalls[high] == target:
        return high, high, 0.0
    low = high - 1
    return low, high, (target - recalls[low]) / (recalls[high] - recalls[low])
