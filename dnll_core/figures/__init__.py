"""Every picture: `figures.curves`, `figures.method`, ...; `figures.style` is their common look."""

from dnll_core.figures import (
    curves,
    embedding,
    images,
    method,
    own,
    scorecard,
    sensitivity,
    speed,
    style,
    tables,
    theory,
)

__all__ = [
    "curves",
    "embedding",
    "images",
    "method",
    "own",
    "scorecard",
    "sensitivity",
    "speed",
    "style",
    "tables",
    "theory",
]
