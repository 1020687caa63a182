"""The plan of analysis, laid down before the first run on CIFAR-10 at profile "laptop" but where a rule says otherwise.

This file's history says when.

    print(*rules(), sep="\n")
    plan()                     # what is compared and pooled, for each claim

`findings` is the code of the rules, `claims` that of the table.
"""

from __future__ import annotations

import pandas as pd

from dnll_core.study.claims import EVEN, OWN_WEIGHT, Timing, claims
from dnll_core.study.findings import Question, apart
from dnll_core.study.records import where
from dnll_core.study.statistics import MISSED, SEEDS


def rules() -> list[str]:
    """How every claim is judged, a sentence or two for each rule."""
    n = int((plan()["sources"] != "computed").sum())
    return [
        "Values: test accuracy of the last epoch, mean of the two submodels. Differences are between runs with the "
        "same seed, and so the same labels.",
        "Sources: the paper's networks (profiles paper, then short), profile laptop, the digits; table by table. The "
        f"first with {SEEDS} complete seeds answers, whatever it says, and no later one is asked. Tables 1, 5 and "
        "6 at profile laptop are CIFAR-10 at half its size with the cnn6 network: 1000 labels, Table 1 also 4000.",
        "Pooled: the settings of one source, averaged for each seed before anything else. Never pooled: tables, "
        "profiles, data sets, networks, kinds of views.",
        "Left out: seeds that lack a setting, which are counted; settings without any record, which are named; all "
        "readings that no row names, such as the fixed weight or as many minutes; live runs of notebooks.",
        f"Verdict: {SEEDS} complete seeds and a 95 % interval of Student's t. All of it where the claim holds: holds. "
        "None of it: does not hold. Else undecided, with the interval as the result: smaller than so many points.",
        "The number m of negatives, two questions: all m at one λ as printed, and each m at its own best weight, its λ "
        f"chosen on validation images for that m (cells with the reading “{OWN_WEIGHT}”; one whose best is the common "
        "λ has no cell of its own). If m = 3 is ahead in the first alone, it was the weight.",
        "EPM against EP: a run records the total variation between R and equal probability. A reading of EPM with less "
        f"than {EVEN:g}, mean of epochs and runs, counts as equal probability: one sentence, no verdict.",
        "Table 1 at profile laptop with 4000 labels: first runs, of two seeds, had the settings chosen with 1000, and "
        "their test accuracy was seen (commit a586440 has their records). Then every method had six new trials with "
        "4000 labels, on validation images alone. Cells whose settings changed by that are run anew. Lines “as long”, "
        "and DNLL and supervised-only with RandAugment, take what the plain line has.",
        "Table 4 at profile laptop with 20 labels: DNLL, supervised-only, mutual learning, Mean Teacher, Dual Student "
        "and FixMatch, which were named before the rivals were searched on MNIST, have ten seeds, the others three. "
        "Seeds 0 to 2 of all had been seen when the rest was planned. Claims pool the numbers of labels, and so have "
        "three.",
        f"At once: {n} claims have an interval, so up to {n * MISSED:.1f} false verdicts are to be expected. "
        "Nothing is corrected for that. Nine of them are asked of Tables 1, 2, 5 and 6.",
        "Another network or size of images than the paper's answers the paper's questions, not its percentages.",
    ]


def plan() -> pd.DataFrame:
    """One row for each claim. Columns: claim, section, number, sources: what is pooled in brackets, in their order."""
    lines = []
    for claim in claims():
        sources = {}
        for ask in claim.asked:
            if isinstance(ask, Question):
                sources |= dict.fromkeys(_words(settings) for settings in ask.sources)
            elif isinstance(ask, Timing):
                sources["a benchmark like Table 7's"] = None
        number = "; ".join(ask.what for ask in claim.asked if isinstance(ask, Question | Timing)) or "–"
        asked_of_runs = isinstance(claim.asked[0], Question)
        words = "; ".join(sources) or ("no cell yet" if asked_of_runs else "computed")
        lines.append({"claim": claim.text, "section": claim.section, "number": number, "sources": words})
    return pd.DataFrame(lines)


def _words(settings: list) -> str:
    pooled = apart(settings, settings)
    return where(settings[0][0]).removeprefix("on ") + (f" ({pooled})" if pooled else "")
