"""Every number of the paper's tables, as data.

Source: Li et al., "What If We Recaption Billions of Web Images with LLaMA-3?", arXiv 2406.08478v2 (18 June 2024),
tables 1 to 7 and section 4. Shares of original captions are the paper's p. None marks what the paper does not report.
"""

CITATION = 'Li et al., "What If We Recaption Billions of Web Images with LLaMA-3?", arXiv 2406.08478v2'

TABLE_1: dict[str, dict[str, float]] = {
    "LLaVA-1.5-7B": {"MMMU": 33.6, "MM-Vet": 33.9},
    "LLaVA-1.5-13B": {"MMMU": 36.4, "MM-Vet": 36.3},
    "LLaVA-1.5-LLaMA3-8B (ours in the paper)": {"MMMU": 45.2, "MM-Vet": 37.8},
    "GPT-4V": {"MMMU": 56.8, "MM-Vet": 44.6},
}
"""Captioner: MMMU and MM-Vet scores."""

TABLE_2: dict[str, dict[str, str]] = {
    "S/16": {"embed": "384", "vision": "384/12/6", "text": "384/12/6", "params": "22/33/55"},
    "B/16": {"embed": "512", "vision": "768/12/12", "text": "512/12/8", "params": "86/53/141"},
    "L/16": {"embed": "768", "vision": "1024/24/16", "text": "768/12/12", "params": "303/109/414"},
    "H/14": {"embed": "1024", "vision": "1280/32/16", "text": "1024/24/16", "params": "631/334/967"},
}
"""Model sizes: embedding width, width/layers/heads of each tower, millions of parameters (vision/text/total)."""

RETRIEVAL_COLUMNS = ("IN-1k", "COCO I>T", "COCO T>I", "F30K I>T", "F30K T>I")
"""ImageNet-1k zero-shot top-1 and R@1 on COCO 2014 and Flickr30K (Karpathy test splits), in percent."""

TABLE_3: dict[str, tuple[float, ...]] = {
    "0.0": (36.0, 53.0, 34.1, 74.1, 53.5),
    "0.1": (58.4, 60.9, 40.5, 83.9, 65.5),
    "0.2": (62.5, 61.7, 41.4, 85.8, 65.7),
    "0.3": (65.1, 62.7, 42.6, 86.3, 67.0),
    "0.4": (66.7, 62.6, 42.5, 87.4, 67.7),
    "0.5": (67.2, 61.9, 42.7, 85.9, 66.7),
    "0.6": (68.0, 62.2, 42.4, 86.0, 67.4),
    "0.7": (68.4, 60.7, 42.3, 86.3, 66.9),
    "0.8": (69.2, 61.5, 42.2, 85.2, 66.9),
    "0.9": (69.2, 60.6, 41.1, 86.0, 65.7),
    "1.0": (69.7, 57.3, 37.7, 84.2, 63.0),
    "concat": (43.3, 57.8, 35.6, 80.2, 56.4),
}
"""Recap-CLIP-B/16, base text tower, by share of original captions; columns RETRIEVAL_COLUMNS."""

TEXT_ON_TABLE_3 = {"0.9": 3.5, "0.2": 3.5, "0.5": 5.0, "0.8": 3.4}
"""Points of mean retrieval over p = 1 that the paper's text gives, about; it calls p = 0.5 the best."""


def table_3_gain(share: str) -> float:
    """Return the points of mean retrieval, ImageNet aside, by which a row of the paper's Table 3 is above its p = 1."""
    return sum(ours - theirs for ours, theirs in zip(TABLE_3[share][1:], TABLE_3["1.0"][1:], strict=True)) / 4


TABLE_4: dict[tuple[str, str, bool], tuple[float, ...]] = {
    ("S/16", "small", False): (60.7, 49.2, 30.1, 73.5, 53.3),
    ("S/16", "small", True): (60.2, 53.7, 34.3, 78.6, 57.9),
    ("S/16", "base", True): (61.7, 56.4, 34.8, 79.7, 59.1),
    ("B/16", "base", False): (69.7, 57.3, 37.7, 84.2, 63.0),
    ("B/16", "base", True): (69.2, 61.5, 42.2, 85.2, 66.9),
    ("B/16", "large", True): (69.8, 62.9, 42.8, 86.7, 67.3),
    ("L/16", "large", False): (74.1, 60.2, 41.9, 86.0, 68.5),
    ("L/16", "large", True): (73.8, 64.3, 46.1, 88.3, 70.5),
    ("L/16", "huge", True): (74.2, 66.0, 46.6, 89.9, 72.7),
}
"""Larger text towers: (vision, text, recaptions at p = 0.8 or none); columns RETRIEVAL_COLUMNS."""

TABLE_5: dict[str, tuple[float, ...]] = {
    "0.5": (68.5, 64.3, 43.4, 86.8, 67.8),
    "0.6": (69.2, 64.4, 43.2, 87.5, 68.8),
    "0.7": (69.3, 63.2, 42.7, 88.0, 68.2),
    "0.8": (69.8, 62.9, 42.8, 86.7, 67.3),
}
"""Recap-CLIP-B/16 with the large text tower, by share of original captions; columns RETRIEVAL_COLUMNS."""

LONG_COLUMNS = ("Urban1K I>T", "Urban1K T>I", "VG-Attribution")
"""Long-text retrieval R@1 and attribute binding accuracy, in percent."""

TABLE_6: dict[tuple[str, bool | None], tuple[float, ...]] = {
    ("OpenAI CLIP-B/16", None): (67.4, 53.3, 62.6),
    ("OpenCLIP-B/16", None): (62.5, 63.1, 59.9),
    ("Recap-CLIP-B/16", False): (53.2, 50.9, 57.1),
    ("Recap-CLIP-B/16", True): (85.0, 87.3, 66.4),
    ("Recap-CLIP-L/16", False): (69.8, 64.6, 60.1),
    ("Recap-CLIP-L/16", True): (89.0, 91.8, 66.8),
}
"""Long text and attributes: (model, trained with recaptions); columns LONG_COLUMNS."""

DIT_COLUMNS = ("raw FID", "raw CLIP", "recap FID", "recap CLIP", "recap Recap-CLIP", "recap GPT-4V")
"""COCO-30K by prompt style: FID, CLIP score (ViT-B/32, x100), Recap-CLIP score, GPT-4V rating of 1 to 5."""

TABLE_7: dict[str, tuple[float, ...]] = {
    "0.00": (37.6, 29.2, 27.8, 32.5, 28.3, 2.53),
    "0.05": (38.5, 29.1, 27.9, 32.5, 28.0, 2.51),
    "0.10": (36.0, 29.7, 27.2, 32.7, 28.2, 2.51),
    "0.15": (35.8, 29.9, 28.2, 33.0, 28.1, 2.45),
    "0.20": (35.8, 29.8, 28.4, 32.7, 28.0, 2.53),
    "0.50": (35.3, 29.3, 30.2, 31.9, 26.7, 2.13),
    "0.75": (31.3, 29.4, 32.7, 31.2, 25.8, 1.89),
    "1.00": (32.5, 28.9, 36.2, 29.3, 19.9, 1.40),
}
"""DiT-B/4 by share of original captions; columns DIT_COLUMNS."""

TABLE_7_LARGE: tuple[float | None, ...] = (None, None, 25.14, 34.82, None, None)
"""DiT-L/2 trained on recaptions alone for one epoch (text of section 6); columns DIT_COLUMNS."""
