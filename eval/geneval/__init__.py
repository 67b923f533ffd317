"""GenEval (Ghosh et al. 2023, arXiv 2310.11513): its prompts, its folder of pictures, and what it found in them."""
