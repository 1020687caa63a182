"""Data sets: named ones and one's own folder, as uint8 tensors, and their splits."""

from dnll_core.data.dataset import Dataset
from dnll_core.data.errors import DataError
from dnll_core.data.images import read_images
from dnll_core.data.load import data_root, load_data
from dnll_core.data.sets import NAMES
from dnll_core.data.splits import Split, split_labels

__all__ = ["NAMES", "DataError", "Dataset", "Split", "data_root", "load_data", "read_images", "split_labels"]
