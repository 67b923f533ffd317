"""The data card as Markdown."""

from collections.abc import Mapping
from typing import Any

from runtime.tables import markdown_table

Card = Mapping[str, Any]


def render_card(card: Card) -> str:
    """Return the card's page."""
    things, swap = card["things"], card["swap"]
    sections = [
        "# Data card of a small web",
        f"{things['num_images']} web images; a share of {things['known_species_share']:.3f} of their things is of a "
        "species known to the captioner. Everything below is measured on the built files. ![samples](card.png)",
        "## Alt-text: configured and measured",
        _alt_text_table(card),
        "## Captions by source",
        "Claims are those of a caption's sentences, checked against the scene; coverage is the share of a scene's "
        "objects, colours, place and relations told truly.",
        _source_table(card),
        "## Held-out sets",
        "Oracle: expected R@1 of one who sees and understands perfectly, ties broken at random.",
        _test_table(card),
        "## Overlap of sources with held-out sets",
        "Share of a set's 4-grams that occur in the source; in brackets the share of its captions that do, whole.",
        _overlap_table(card),
        "## Swap test, read blind",
        f"A trigram model of all captions, without the images, prefers the true caption in "
        f"{100 * swap['blind_accuracy']:.1f} % of {swap['num_pairs']} images "
        f"(wanted: 50, within {100 * swap['half_width']:.1f}).",
        "## What is on the web",
        _shares_table(things),
    ]
    return "\n\n".join(sections) + "\n"


def _alt_text_table(card: Card) -> str:
    rows = [
        [name, f"{row['configured']:.3f}", f"{row['before_filter']:.3f}", f"{row['measured']:.3f}"]
        for name, row in card["alt_text"]["types"].items()
    ]
    rows += [
        [f"of species and partial: {name}", f"{row['configured']:.3f}", "", f"{row['measured']:.3f}"]
        for name, row in card["alt_text"]["naming"].items()
    ]
    return markdown_table(["share", "configured", "before the filter", "on the web"], rows)


def _source_table(card: Card) -> str:
    headers = ["source", "captions", "words: mean", "p95", "max", "vocabulary", "test words known"]
    rows = []
    for name, row in card["sources"].items():
        words = row["words"]
        lengths = [f"{words['mean']:.1f}", f"{words['p95']:.0f}", f"{words['max']:.0f}"]
        known = f"{row['test_words_known_share']:.3f}"
        claims = [f"{row[key]:.2f}" if key in row else "" for key in ("claims", "coverage", "unsupported_share")]
        rows.append([name, row["num_captions"], *lengths, row["vocabulary"], known, *claims])
    return markdown_table([*headers, "claims", "coverage", "unsupported"], rows)


def _test_table(card: Card) -> str:
    rows = []
    for name, row in card["tests"].items():
        oracle = card["retrieval"].get(name)
        recalls = [f"{100 * oracle[way]:.1f}" if oracle else "" for way in ("text_to_image", "image_to_text")]
        words = row["words"]
        rows.append(
            [name, row["num_images"], row["num_captions"], f"{words['mean']:.1f}", f"{words['max']:.0f}", *recalls]
        )
    headers = ["set", "images", "captions", "words: mean", "max", "oracle R@1 text to image", "image to text"]
    return markdown_table(headers, rows)


def _overlap_table(card: Card) -> str:
    names = list(card["tests"])
    rows = [
        [source, *(f"{row[name]['ngrams']:.3f} ({row[name]['captions']:.3f})" for name in names)]
        for source, row in card["overlap"].items()
    ]
    return markdown_table(["source", *names], rows)


def _shares_table(things: Mapping[str, Any]) -> str:
    rows = [
        [label, ", ".join(f"{name} {share:.3f}" for name, share in things[key].items())]
        for label, key in (
            ("things in an image", "num_things_shares"),
            ("places", "background_shares"),
            ("colours", "colour_shares"),
            ("kinds", "kind_shares"),
        )
    ]
    return markdown_table(["of", "shares"], rows, align=["left", "left"])
