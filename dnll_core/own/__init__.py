"""One's own images: from a folder with few labels to a model, its predictions, and what to label next."""
