"""Records: identities pinned to literals, and what they leave out."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import msgspec
import pytest
from PIL import Image

from pairuni_eval.decoding import Decoding
from pairuni_eval.records import (
    RECORD_FORMAT,
    BenchmarkRun,
    Capability,
    ImagePart,
    Item,
    ModelIdentity,
    Output,
    Picture,
    RunCard,
    Sample,
    Status,
    TextPart,
    is_picture,
    make_item,
    output_id,
)
from pairuni_eval.seeds import stable_hash

DEFAULT_DECODING = "1d0c1fe6c6fee9584b46031f199d8ed5"
SAMPLE = "8dcdd9c4c5b21c7d0aacafe7669d1ed0"


def item(**changes: Any) -> Item:
    given: dict[str, Any] = {
        "benchmark": "pope",
        "version": "1",
        "key": "k1",
        "capability": Capability.UNDERSTAND,
        "parts": (Picture(b"data", "00ff"), "Is there a dog? é"),
        "reference": {"answer": "yes"},
    }
    return make_item(**(given | changes))


def test_a_sample_has_the_same_id_on_every_machine() -> None:
    assert item().sample.uid == SAMPLE


def test_an_output_has_the_same_id_on_every_machine() -> None:
    assert Decoding().id == DEFAULT_DECODING
    assert output_id(SAMPLE, 3, DEFAULT_DECODING) == "c20eed534dfe905eb9405daadd19f649"


@pytest.mark.parametrize(
    "change",
    [
        {"benchmark": "mme"},
        {"version": "2"},
        {"key": "k2"},
        {"capability": Capability.EDIT},
        {"parts": ("Is there a dog? é", Picture(b"data", "00ff"))},
        {"parts": (Picture(b"data", "00fe"), "Is there a dog? é")},
        {"parts": (Picture(b"data", "00ff"), "Is there a cat?")},
        {"reference": {"answer": "no"}},
    ],
)
def test_whatever_model_or_scorer_see_moves_the_id(change: dict[str, Any]) -> None:
    assert item(**change).sample.uid != SAMPLE


def test_unit_and_tags_do_not_move_the_id() -> None:
    assert item(unit="u", tags={"split": "random"}).sample.uid == SAMPLE


def test_a_unit_is_the_first_image_or_else_the_key() -> None:
    assert item().sample.unit == "00ff"
    assert item(parts=("Draw a dog.",)).sample.unit == "k1"
    assert item(unit="scene 7").sample.unit == "scene 7"


def test_parts_keep_their_order_and_pictures_travel_beside() -> None:
    made = item()
    assert made.sample.parts == (ImagePart("00ff"), TextPart("Is there a dog? é"))
    assert [picture.data for picture in made.pictures] == [b"data"]
    assert made.sample.images == ("00ff",)
    assert made.sample.text == "Is there a dog? é"


@pytest.mark.parametrize("field", Decoding.__struct_fields__)
def test_every_decoding_setting_moves_the_decoding_id(field: str) -> None:
    assert msgspec.structs.replace(Decoding(), **{field: 7}).id != DEFAULT_DECODING


def test_a_decoding_that_sets_nothing_new_has_the_id_of_stored_runs() -> None:
    given = {"temperature": 1.0, "top_k": 5, "top_p": 0.9, "max_tokens": 64, "cfg_scale": 4.0}
    assert Decoding(**given).id == stable_hash("decoding/1", given)
    assert Decoding(**given).further == {}
    assert Decoding(steps=50, thinking=True).further == {"steps": 50, "thinking": True}
    assert Decoding(size=(512, 384)).id != Decoding(size=(384, 512)).id


@pytest.mark.parametrize(
    "change",
    [
        *({"steps": 0}, {"timestep_shift": 0.0}, {"cfg_renorm": "all"}, {"max_tokens": 0}),
        *({"temperature": -0.1}, {"temperature": float("nan")}, {"cfg_scale": float("inf")}),
        *({"top_p": 0.0}, {"top_p": 1.1}, {"top_k": -1}, {"cfg_interval": (0.4, 1.5)}),
    ],
)
def test_a_decoding_out_of_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(change, Decoding)


def test_a_flaw_is_stored_where_there_is_one_and_does_not_move_the_id() -> None:
    one, other = (item(parts=(Picture.broken(words),)).sample for words in ("a URL", "no file"))
    assert one.uid == other.uid == item(parts=(Picture.from_bytes(b""),)).sample.uid
    part = ImagePart(hashlib.sha256(b"").hexdigest(), "a URL")
    assert one.parts == (part,)
    stored = msgspec.json.encode(one)
    assert msgspec.json.decode(stored, type=Sample) == one
    assert msgspec.json.encode(ImagePart("ab")) == b'{"kind":"image","image":"ab"}'


def test_pictures_of_a_dataset_are_known_by_their_bytes() -> None:
    picture = Picture.from_bytes(b"not even an image")
    assert picture.id == hashlib.sha256(b"not even an image").hexdigest()
    assert picture.data == b"not even an image"


def test_pictures_made_here_are_known_by_their_pixels() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    picture = Picture.from_image(image)
    assert picture.id == hashlib.sha256(b"RGB 2x1\n" + bytes([1, 2, 3, 1, 2, 3])).hexdigest()
    with Image.open(io.BytesIO(picture.data)) as again:
        assert again.format == "PNG"
        assert again.tobytes() == image.tobytes()
    assert Picture.from_image(Image.new("RGB", (1, 2), (1, 2, 3))).id != picture.id
    assert Picture.from_image(Image.new("L", (2, 3), 1)).id != picture.id


def test_a_picture_is_what_its_id_says() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    made = Picture.from_image(image)
    found = Picture.from_bytes(made.data)
    assert made.id != found.id and made.digest == found.digest == found.id
    assert is_picture(made.data, made.id) and is_picture(made.data, found.id)
    stored = io.BytesIO()
    image.save(stored, format="PNG", compress_level=0)
    assert is_picture(stored.getvalue(), made.id), "whichever zlib compressed it"
    assert not is_picture(stored.getvalue(), found.id)
    assert not is_picture(b"", made.id) and not is_picture(made.data[:20], made.id)
    other = Picture.from_image(Image.new("RGB", (2, 1), (1, 2, 4)))
    assert not is_picture(other.data, made.id)


@pytest.mark.parametrize("image", ["../x", "", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n"])
def test_nothing_but_a_hash_is_read_as_the_id_of_a_picture(image: str) -> None:
    text = msgspec.json.encode(ImagePart(image))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=ImagePart)


def test_a_record_survives_json() -> None:
    parts = (Picture.from_bytes(b"data"), "Is there a dog? é")
    sample = item(parts=parts, tags={"split": "random"}).sample
    assert msgspec.json.decode(msgspec.json.encode(sample), type=Sample) == sample
    output = Output(
        id="o", sample="s", draw=0, seed=2**63 - 1, decoding="d", parts=(TextPart("ja"),)
    )
    assert msgspec.json.decode(msgspec.json.encode(output), type=Output) == output


def test_an_output_knows_its_text_and_its_image() -> None:
    empty = Output(id="o", sample="s", draw=0, seed=0, decoding="d")
    assert (empty.text, empty.image) == (None, None)
    drawn = msgspec.structs.replace(empty, parts=(ImagePart("ab"),))
    assert (drawn.text, drawn.image) == (None, "ab")
    silent = msgspec.structs.replace(empty, parts=(TextPart(""),))
    assert silent.text == ""  # said nothing, which is not the same as no answer


def test_missing_has_six_names() -> None:
    assert [str(status) for status in Status] == [
        "scored",
        "unparsed",
        "refused",
        "judge_failed",
        "missing_output",
        "skipped",
    ]


def run_card(**changes: Any) -> RunCard:
    part = BenchmarkRun(
        protocols=("official",),
        decoding=Decoding(),
        batch_size=16,
        origin="folder",
        revision="r1",
        judge=None,
        expected=10,
        planned=10,
    )
    return RunCard(
        format=RECORD_FORMAT,
        code="0",
        name="run",
        checkpoint=ModelIdentity(adapter="janus", name="tiny", weights="w"),
        suite=None,
        benchmarks={"pope": msgspec.structs.replace(part, **changes)},
        seed=0,
        limit=None,
        environment={},
        command="",
    )


def test_a_run_is_partial_when_it_plans_fewer_than_the_card_expects() -> None:
    assert not run_card().partial
    assert run_card(planned=9).partial


def test_the_protocol_hash_moves_with_what_can_move_a_number() -> None:
    base = run_card().protocol_hash
    assert run_card(batch_size=1).protocol_hash == base
    for change in (
        {"protocols": ("lmms-eval",)},
        {"decoding": Decoding(temperature=1.0)},
        {"judge": "gpt"},
        {"planned": 9},
        {"revision": "r2"},
    ):
        assert run_card(**change).protocol_hash != base, change
