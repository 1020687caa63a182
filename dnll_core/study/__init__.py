"""This paper's questions as experiments, and answers from records."""
