import pytest

from miniweb.scene import Relation, Scene, Thing, relations, signature
from runtime.errors import UserError


def thing(x: float, y: float, kind: str = "cat", colour: str = "red") -> Thing:
    return Thing(kind, "mirrow", colour, "large", x, y, 0.4)


def test_json_round_trips() -> None:
    scene = Scene("beach", (thing(0.25, 0.3), thing(0.7, 0.72)))
    assert Scene.from_json(scene.to_json()) == scene


@pytest.mark.parametrize("broken", [{}, {"background": "beach", "things": [{"kind": "cat"}]}])
def test_a_broken_record_is_named(broken: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"scene record: found .* wanted background and things"):
        Scene.from_json(broken)


def test_a_scene_holds_one_to_four_things() -> None:
    with pytest.raises(UserError, match="number of things in a scene: found 0, wanted 1 to 4"):
        Scene("beach", ())


def test_relations_follow_from_positions() -> None:
    level = Scene("sky", (thing(0.25, 0.25), thing(0.75, 0.28)))
    assert set(relations(level)) == {Relation(0, "left of", 1), Relation(1, "right of", 0)}
    diagonal = Scene("sky", (thing(0.75, 0.25), thing(0.25, 0.75)))
    names = {(relation.subject, relation.name) for relation in relations(diagonal)}
    assert names == {(0, "right of"), (0, "above"), (1, "left of"), (1, "below")}


def test_signature_forgets_jitter_and_order_and_nothing_else() -> None:
    scene = Scene("sky", (thing(0.25, 0.25), thing(0.75, 0.75, colour="blue")))
    jittered = Scene("sky", (thing(0.74, 0.77, colour="blue"), thing(0.26, 0.24)))
    swapped = Scene("sky", (thing(0.25, 0.25, colour="blue"), thing(0.75, 0.75)))
    assert signature(jittered) == signature(scene)
    assert len({signature(scene), signature(swapped), signature(Scene("snow", scene.things))}) == 3
