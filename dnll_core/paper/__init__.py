"""What the paper says: its numbers, its contradictions, its theorems exactly and by simulation."""

from dnll_core.paper.tables import DAGGERS, LABELS, NUMBERS, OURS, SECONDS, SETTINGS, Key, accuracy

__all__ = ["DAGGERS", "LABELS", "NUMBERS", "OURS", "SECONDS", "SETTINGS", "Key", "accuracy"]
