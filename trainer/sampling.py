"""Which examples an epoch sees: all of them, or a freshly drawn balanced subset with ambiguous ones added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.errors import RecipeError

Indices = NDArray[np.int64]

_POOLED_BATCHES: Final = 16


def full_epoch(
    corpora: Sequence[str], quota: Mapping[str, int], rng: np.random.Generator, utterances: Indices | None = None
) -> Indices:
    """Every utterance; of a corpus with a quota, that many drawn anew, so that a large one does not drown the others.

    Args:
        corpora: corpus name of each example.
        quota: most utterances a corpus gives to one epoch; corpora not named give all.
        rng: the only source of chance.
        utterances: `[examples]`, a number that the views of one utterance share: an epoch sees one view of each, drawn
            anew; without it every example is an utterance.

    Returns:
        Positions, shuffled.
    """
    names = np.asarray(corpora)
    seen = np.arange(names.size) if utterances is None else _one_of_each(utterances, rng)
    chosen = []
    for name in dict.fromkeys(corpora):
        members = seen[names[seen] == name]
        limit = quota.get(name)
        if limit is not None and members.size > limit:
            members = rng.choice(members, size=limit, replace=False)
        chosen.append(members)
    return rng.permutation(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)


def evened_quota(
    corpora: Sequence[str], utterances: Indices, spoken: NDArray[np.bool_], balance: float
) -> dict[str, int]:
    """Quotas that bring corpora with audio nearer to each other, so that none is learnt for its size.

    Args:
        corpora: corpus name of each example.
        utterances: `[examples]`, a number that the views of one utterance share.
        spoken: `[examples]`.
        balance: 0 takes all of each corpus, 1 as much of each as the smallest has, and what lies between evens out on a
            logarithmic scale.
    """
    names = np.asarray(corpora)
    sizes = {name: np.unique(utterances[(names == name) & spoken]).size for name in dict.fromkeys(corpora)}
    heard = {name: size for name, size in sizes.items() if size}
    if not heard:
        return {}
    least = min(heard.values())
    return {name: max(1, round(least**balance * size ** (1 - balance))) for name, size in heard.items()}


def _one_of_each(utterances: Indices, rng: np.random.Generator) -> Indices:
    shuffled = rng.permutation(utterances.size)
    _, first = np.unique(utterances[shuffled], return_index=True)
    return np.sort(shuffled[first])


def balanced_epoch(dominant: Indices, ambiguous: NDArray[np.bool_], rng: np.random.Generator) -> Indices:
    """A balanced subset plus ambiguous utterances (paper, stage 2): drawn anew whenever it is called.

    Every dominant class is undersampled to the rarest; of the ambiguous ("XO") examples as many are added as one
    class has.

    Args:
        dominant: `[examples]`, index of each example's strongest class.
        ambiguous: `[examples]`, True where annotators reached no agreement.
        rng: the only source of chance.

    Raises:
        RecipeError: there is no unambiguous example.
    """
    clear = np.flatnonzero(~ambiguous)
    if clear.size == 0:
        raise RecipeError("a balanced subset needs examples whose annotators agree; all are ambiguous")
    classes, counts = np.unique(dominant[clear], return_counts=True)
    rarest = int(counts.min())
    chosen = [rng.choice(clear[dominant[clear] == c], size=rarest, replace=False) for c in classes]
    unclear = np.flatnonzero(ambiguous)
    chosen.append(rng.choice(unclear, size=min(rarest, unclear.size), replace=False))
    return rng.permutation(np.concatenate(chosen))


def batches(
    order: Indices, lengths: NDArray[np.int64], spoken: NDArray[np.bool_], size: int, rng: np.random.Generator
) -> Iterator[Indices]:
    """Cuts an epoch into batches of one kind and like length, so that little of what is computed is padding.

    Args:
        order: positions in the order of the epoch.
        lengths: `[examples]`, frames of each example's longest modality.
        spoken: `[examples]`, False where there is text alone.
        size: examples a batch.
        rng: shuffles the batches.

    Yields:
        Positions of one batch; every position of `order` exactly once.
    """
    pool = _POOLED_BATCHES * size
    cuts: list[Indices] = []
    for kind in (order[spoken[order]], order[~spoken[order]]):
        for start in range(0, kind.size, pool):
            chunk = kind[start : start + pool]
            chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
            cuts.extend(chunk[i : i + size] for i in range(0, chunk.size, size))
    for position in rng.permutation(len(cuts)):
        yield cuts[position]
