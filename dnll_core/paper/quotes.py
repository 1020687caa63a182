"""What the paper says of other systems otherwise than their own sources do: `quotes.toml`, checked against `tables`.

    for quote in QUOTES: print(quote.name, quote.printed, quote.own, quote.known)

`misprints` has what the paper alone shows to be wrong, so a row that copies another one (Filtering CCL) or falls with
more labels (Π+SNTG on MNIST) stands there and not here. For these entries another source is needed, and how well we
know it is part of the entry.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from dnll_core.datafiles import read_toml
from dnll_core.fields import RULES, ConfigError
from dnll_core.paper.tables import DAGGERS, LABELS, accuracy

Percent = Annotated[float, Field(ge=0, le=100)]


@dataclass(frozen=True, kw_only=True, config=RULES)
class Quote:
    """Cells of a row that are not what the row's source has, or a claim about the row that its source denies.

    kind: "number": another accuracy than the source's; "variant": that of a weaker variant; "network": another network
    than the paper says; "family": another kind of method. The first two name `labels` and their `own` accuracies, the
    others the paper's `claim`.
    known: how we know what the source has. `read` is what was read and where, `memory` what was not.
    also: what else differs from the paper's runs, where that is known.
    """

    name: str = ""  # in the file, the name of its table
    kind: Literal["number", "variant", "network", "family"]
    table: Literal[1, 2, 3, 4]
    method: str  # the row, as `paper` calls it
    labels: tuple[int, ...] = ()
    own: tuple[Percent, ...] = ()  # a number for each of `printed`
    claim: str = ""
    says: str
    known: Literal["read", "from memory"]
    read: str = ""
    memory: str = ""
    also: str = ""

    @property
    def printed(self) -> tuple[float | None, ...]:
        """The accuracies that the paper prints there; none where the entry is about a claim."""
        return tuple(accuracy(self.table, self.method, n) for n in self.labels)

    @property
    def dagger(self) -> bool:
        """Whether the paper marks the row as taken from another paper."""
        return (self.table, self.method) in DAGGERS


def load(path: Path) -> tuple[Quote, ...]:
    """The entries of a file, in its order.

    Raises:
        ConfigError: naming file, table and field, if an entry does not fit the paper's tables or does not differ.
    """
    entries = read_toml(path, dict[str, Quote])
    for name, quote in entries.items():
        if fault := _fault(quote):
            raise ConfigError(f"{path}: in [{name}] {fault}")
    return tuple(dataclasses.replace(quote, name=name) for name, quote in entries.items())


def _fault(quote: Quote) -> str | None:
    try:
        accuracy(quote.table, quote.method, LABELS[quote.table][0])
        printed = quote.printed
    except KeyError as error:
        return error.args[0]
    numbers = quote.kind in ("number", "variant")
    if (bool(quote.labels), bool(quote.claim)) != (numbers, not numbers):
        return f"kind {quote.kind!r} takes {'labels and no claim' if numbers else 'a claim and no labels'}."
    if len(quote.own) != len(printed):
        return f"own: {len(quote.own)} accuracies; accepted: {len(printed)}, one for each cell."
    if agreeing := [value for value, own in zip(printed, quote.own) if value is None or value == own]:
        return f"own: the paper prints {agreeing[0]} too; accepted: what differs from a printed number."
    needed = "read" if quote.known == "read" else "memory"
    return None if getattr(quote, needed) else f"{needed}: it is empty; accepted: what is known {quote.known!r}."


QUOTES = load(Path(__file__).with_suffix(".toml"))
"""Numbers first, then claims."""
