"""Many runs, recorded: `python -m dnll_core.campaign`."""
