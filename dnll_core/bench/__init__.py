"""How fast training is: `python -m dnll_core.bench`."""
