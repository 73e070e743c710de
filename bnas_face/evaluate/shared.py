"""The embedding of an evaluation, shared by several processes; one of them goes on alone with what they found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bnas_face.evaluate import kinds
from bnas_face.evaluate import plan as plans
from bnas_face.evaluate.embed import embed_together

Progress = Callable[[str, int, int], None]


def embed_all(
    models: Sequence[str],
    protocols: Sequence[str],
    convention: str,
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
    **options: Any,
) -> None:
    """Fill the cache with all that `evaluate.evaluate` will ask for.

    Every process of the job calls this with the same arguments; `options` are those of `plan.prepare`, and so are the
    errors.
    """
    plan = plans.prepare(models, protocols, convention, **options)
    for entry, embedder in zip(plan.models, plan.embedders, strict=True):
        first = [plan.development] if plan.development is not None and embedder.flip else []
        for one in [*first, *plan.fitting[entry["id"]]]:
            what = f"{entry['id']} on {one.card.name}"
            embed_together(
                embedder,
                one.images,
                ids=kinds.of(one).image_ids(one),
                batch_size=batch_size,
                flip=plan.convention.flip,
                progress=None if progress is None else lambda done, total, what=what: progress(what, done, total),  # type: ignore[misc]
            )
