"""The data card: its measures against known answers, and the whole on a small built folder."""

import json
from pathlib import Path

import pytest
from PIL import Image

from imagetext.conversations import Conversation, Turn, write_conversations
from imagetext.shards import ShardRow, make_key, write_shard
from imagetext.sidecars import write_sidecar
from miniweb import alttext, annotator, curator, grammar
from miniweb.blind import BlindReader, score_blind
from miniweb.card import choose_samples, write_card
from miniweb.claims import check, parse
from miniweb.corpora import HeldOutSet, read_corpora, read_test_sets
from miniweb.overlap import Seen
from miniweb.perfect_perceiver import oracle_recall, true_scenes
from miniweb.scene import Scene, Thing
from miniweb.world import sample_scene
from runtime.seeds import numpy_generator

NUM_WEB = 80


def house(colour: str) -> Scene:
    return Scene("meadow", (Thing("house", "velmont", colour, "large", 0.5, 0.5, 0.45),))


def write_web(folder: Path, scenes: list[Scene]) -> None:
    generator = numpy_generator("card")
    rates = alttext.AltTextRates()
    alts = [alttext.write(scene, generator, rates, scenes[i - 1]) for i, scene in enumerate(scenes)]
    rows = [
        ShardRow(
            key=make_key(0, i),
            image=b"jpeg",
            caption=alt.text,
            metadata={"alt_type": alt.type, "scene": scene.to_json()},
        )
        for i, (scene, alt) in enumerate(zip(scenes, alts))
    ]
    write_shard(folder / "web", 0, rows)
    sidecars = {
        "web_oracle": [grammar.describe(scene, generator) for scene in scenes],
        "web_clean": [alttext.write_clean(scene, generator).text for scene in scenes],
        "web_paraphrase": [alttext.paraphrase(alt, generator) for alt in alts],
    }
    for name, captions in sidecars.items():
        write_sidecar(
            folder / name, "00000", [{"key": row.key, "re_caption": text} for row, text in zip(rows, captions)]
        )
    cards = [
        ShardRow(
            key=row.key, image=b"jpeg", caption=curator.caption(scene, generator), metadata={"scene": scene.to_json()}
        )
        for row, scene in zip(rows, scenes)
    ]
    write_shard(folder / "foundation", 0, cards)
    turns = [(Turn("user", "Describe."), Turn("assistant", grammar.describe(scene, generator))) for scene in scenes]
    write_conversations(
        folder / "captioner" / "detail.json", [Conversation(id=str(i), turns=pair) for i, pair in enumerate(turns)]
    )


def write_tests(folder: Path, scenes: list[Scene]) -> None:
    generator = numpy_generator("card tests")
    texts = {
        "retrieval_short_a": lambda scene: [annotator.caption(scene, generator) for _ in range(5)],
        "retrieval_short_b": lambda scene: [annotator.caption(scene, generator) for _ in range(5)],
        "retrieval_long": lambda scene: [annotator.describe(scene, generator)],
        "swap": lambda scene: list(annotator.swap_pair(scene, generator)),
    }
    for name, write in texts.items():
        fit = [scene for scene in scenes if name != "swap" or annotator.swappable(scene)]
        lines = [
            json.dumps({"key": str(i), "scene": scene.to_json(), "texts": write(scene)}) for i, scene in enumerate(fit)
        ]
        (folder / "benchmarks" / name).mkdir(parents=True)
        (folder / "benchmarks" / name / "scenes.jsonl").write_text("\n".join(lines) + "\n")
    prompts = [
        json.dumps({"prompt": annotator.caption(scene, generator), "scene": scene.to_json()}) for scene in scenes
    ]
    (folder / "prompts").mkdir()
    (folder / "prompts" / "raw.jsonl").write_text("\n".join(prompts) + "\n")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniweb")
    generator = numpy_generator("card scenes")
    write_web(folder, [sample_scene(generator, "web") for _ in range(NUM_WEB)])
    write_tests(folder, [sample_scene(generator, "benchmark_a") for _ in range(40)])
    return folder


def test_card_measures_a_built_web(built: Path) -> None:
    paths = write_card(built, alttext.AltTextRates(), {"human": 3, "species": 1})
    card = json.loads(paths[0].read_text())
    assert card["alt_text"]["types"]["human"]["configured"] == 0.15
    assert card["alt_text"]["types"]["human"]["before_filter"] == 0.75
    assert sum(row["measured"] for row in card["alt_text"]["types"].values()) == pytest.approx(1)
    assert card["sources"]["oracle"]["coverage"] > 0.99
    assert card["sources"]["oracle"]["unsupported_share"] == 0
    assert card["sources"]["original"]["unsupported_share"] > 0.02
    assert card["sources"]["clean"]["coverage"] > card["sources"]["original"]["coverage"] + 0.2
    assert card["retrieval"]["retrieval_long"]["text_to_image"] > 0.95
    assert abs(card["swap"]["blind_accuracy"] - 0.5) < 2 * card["swap"]["half_width"]
    assert card["overlap"]["captioner"]["retrieval_long"]["ngrams"] < 0.1
    assert card["things"]["num_images"] == NUM_WEB
    page = paths[1].read_text()
    assert "| human " in page
    assert "retrieval_short_a" in page
    with Image.open(paths[2]) as sheet:
        assert sheet.width > 800


def test_the_card_of_the_same_files_is_the_same_to_the_byte(built: Path) -> None:
    first = [path.read_bytes() for path in write_card(built, alttext.AltTextRates(), {})]
    assert [path.read_bytes() for path in write_card(built, alttext.AltTextRates(), {})] == first


def test_corpora_line_up_with_their_scenes(built: Path) -> None:
    corpora = read_corpora(built)
    for caption, scene in zip(corpora["oracle"].captions, corpora["oracle"].scenes):
        assert not check(parse(caption), scene).unsupported
    assert set(corpora["original"].alt_types) <= set(alttext.ALT_TYPES)


def test_true_scenes_are_all_scenes_whose_claims_hold(built: Path) -> None:
    test = read_test_sets(built)["retrieval_short_a"]
    parsed = [parse(caption) for caption in test.captions[:50]]
    slow = [[i for i, s in enumerate(test.scenes) if len(check(p, s).supported) == len(p.claims)] for p in parsed]
    assert true_scenes(parsed, test.scenes) == slow


def test_oracle_breaks_ties_at_random_expectation() -> None:
    scenes = (house("red"), house("blue"), house("pink"))
    vague = HeldOutSet(scenes=scenes, texts=(("A house.",), ("A house.",), ("A house.",)))
    assert oracle_recall(vague).text_to_image == pytest.approx(1 / 3)
    assert oracle_recall(vague).image_to_text == pytest.approx(1 / 3)
    exact = HeldOutSet(scenes=scenes, texts=(("A red house.",), ("A blue house.",), ("A house.",)))
    assert oracle_recall(exact).text_to_image == pytest.approx((1 + 1 + 1 / 3) / 3)
    assert oracle_recall(exact).image_to_text == 1


def test_a_false_caption_is_never_found() -> None:
    scenes = (house("red"), house("blue"))
    wrong = HeldOutSet(scenes=scenes, texts=(("A blue house.",), ("A red house.",)))
    assert (oracle_recall(wrong).text_to_image, oracle_recall(wrong).image_to_text) == (0, 0)


def test_blind_reader_prefers_what_it_has_read_and_ties_count_half() -> None:
    reader = BlindReader(["a red house", "a red house", "a blue boat"])
    assert reader.score("a red house") > reader.score("a blue house")
    assert score_blind(reader, [("a red house", "a blue house")]).accuracy == 1
    assert score_blind(reader, [("a red house", "a red house")]).accuracy == 0.5


def test_no_blind_reader_solves_the_swap_test() -> None:
    generator = numpy_generator("blind")
    web = [sample_scene(generator, "web") for _ in range(600)]
    reader = BlindReader(annotator.caption(scene, generator) for scene in web)
    pairs = [annotator.swap_pair(scene, generator) for scene in web if annotator.swappable(scene)]
    score = score_blind(reader, pairs)
    assert abs(score.accuracy - 0.5) < 1.5 * score.half_width


def test_overlap_counts_ngrams_and_whole_captions() -> None:
    seen = Seen(["a red house in a meadow"])
    assert seen.ngram_share(["A red house in the snow."]) == 1 / 3
    assert seen.caption_share(["A red house in a meadow!", "A red house."]) == 0.5
    assert seen.ngram_share(["short"]) == 0.0


def test_samples_show_every_type_before_any_again() -> None:
    types = ["species"] * 5 + ["human"] * 2 + ["empty"]
    assert choose_samples(types, 4) == [5, 0, 7, 6]
