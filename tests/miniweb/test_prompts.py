import json
from itertools import pairwise

from imagetext.conversations import PAPER_PROMPT, read_conversations
from imagetext.shards import list_shards, read_shard
from miniweb import claims
from miniweb.catalogue import SPECIES_BY_NAME
from miniweb.config import MiniwebConfig
from miniweb.holdouts import combinations_of, held_out
from miniweb.questions import ask
from miniweb.scene import Scene
from miniweb.world import sample_scene
from runtime.seeds import numpy_generator


def prompts(config: MiniwebConfig, name: str) -> list[dict[str, object]]:
    path = config.output_dir / "prompts" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_raw_prompts_and_their_images_agree(tiny_web: MiniwebConfig) -> None:
    samples = {s.key: s for s in read_shard(list_shards(tiny_web.output_dir / "prompts" / "images")[0], "prompts")}
    for prompt in prompts(tiny_web, "raw"):
        sample = samples[str(prompt["key"])]
        assert sample.metadata["scene"] == prompt["scene"]
        assert sample.captions["original"] == prompt["prompt"]


def test_prompts_are_true_of_their_scenes(tiny_web: MiniwebConfig) -> None:
    for name in ("raw", "recombined", "longer"):
        for prompt in prompts(tiny_web, name):
            scene = Scene.from_json(prompt["scene"])  # type: ignore[arg-type]
            for field in ("prompt", "recaption_style"):
                assert not claims.check(claims.parse(str(prompt[field])), scene).unsupported


def test_recombined_prompts_hold_what_no_other_split_holds(tiny_web: MiniwebConfig) -> None:
    recorded = json.loads((tiny_web.output_dir / "manifest.json").read_text())["held_out"]
    assert recorded["kind_colours"] == [list(entry) for entry in held_out().kind_colours]
    for prompt in prompts(tiny_web, "recombined"):
        scene = Scene.from_json(prompt["scene"])  # type: ignore[arg-type]
        assert prompt["held_out"] == [list(entry) for entry in combinations_of(scene)] != []
    assert all(prompt["held_out"] == [] for name in ("raw", "longer") for prompt in prompts(tiny_web, name))
    assert all(len(Scene.from_json(p["scene"]).things) >= 3 for p in prompts(tiny_web, "longer"))  # type: ignore[arg-type]


def test_conversations_are_llava_s_and_their_images_exist(tiny_web: MiniwebConfig) -> None:
    folder = tiny_web.output_dir / "captioner"
    for name in ("align", "instruct", "detail", "detail_all_species", "conditioned", "knowledge"):
        records = read_conversations(folder / f"{name}.json")
        assert len(records) == 12
        assert all(record.image and (folder / "images" / record.image).exists() for record in records)
    texts = read_conversations(folder / "text.json")
    assert all(record.image is None and record.turns[0].text == PAPER_PROMPT for record in texts)


def test_rarer_species_are_named_in_the_knockout_alone(tiny_web: MiniwebConfig) -> None:
    rare = [species.name for species in SPECIES_BY_NAME.values() if not species.known_to_captioner]
    folder = tiny_web.output_dir / "captioner"
    usual, knockout = ((folder / f"{name}.json").read_text() for name in ("detail", "detail_all_species"))
    assert not any(name in usual for name in rare)
    assert any(name in knockout for name in rare)


def test_questions_have_one_answer_each_and_it_is_right() -> None:
    forms = set()
    for index in range(200):
        scene = sample_scene(numpy_generator("scene", index), "judges")
        asked = ask(scene, numpy_generator("ask", index), 3)
        assert 1 <= len(asked) <= 3 and len({question for question, _ in asked}) == len(asked)
        for question, answer in asked:
            forms.add(question.split()[0] + question.split()[1])
            assert question.endswith("?") and answer.endswith(".")
            if question.startswith("How many"):
                assert answer == f"{('One', 'Two', 'Three', 'Four')[len(scene.things) - 1]}."
            if question.startswith("What colour is the"):
                (thing,) = (thing for thing in scene.things if thing.kind == question.split()[-1].rstrip("?"))
                assert answer.lower() == f"{thing.colour}."
            if question.startswith("Is there"):
                kind = question.split()[3]
                assert (answer == "Yes.") == any(thing.kind == kind for thing in scene.things)
    assert len(forms) >= 5


def test_presence_is_asked_truly_as_often_as_falsely() -> None:
    from miniweb.questions import ask_presence

    scene = sample_scene(numpy_generator("presence"), "web")
    answers = [ask_presence(scene, numpy_generator("presence", index))[1] for index in range(400)]
    assert 160 < answers.count("Yes.") < 240
    assert any(a != b for a, b in pairwise(answers))
