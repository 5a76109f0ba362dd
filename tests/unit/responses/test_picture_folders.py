"""Pictures in the folders that benchmarks' own scripts write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Reply, Request
from pairuni_eval.models.recorded import RecordedModel
from pairuni_eval.responses.formats import match_responses
from pairuni_eval.responses.layouts import Format
from pairuni_eval.responses.picture_folders import read_folder
from pairuni_eval.responses.rows import MatchedResponses
from pairuni_eval.responses.sample_index import IndexedSample, SampleIndex


def picture(path: Path, gray: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2), (gray, gray, gray)).save(path)


def found(matched: MatchedResponses, folder: Path) -> dict[tuple[str | None, str, int], str]:
    """The paths of the pictures by benchmark, id and draw."""
    return {
        (row.benchmark, row.id, row.draw): str(row.image and row.image.relative_to(folder))
        for row in matched.responses
    }


def index(*keys: str, name: str = "toy", draws: int = 1) -> SampleIndex:
    return SampleIndex(name, [IndexedSample(key, (), "", None) for key in keys], draws=draws)


def geneval(folder: Path, *prompts: str) -> Path:
    """Two pictures of each prompt, as GenEval's script leaves them."""
    for number, prompt in enumerate(prompts):
        place = folder / f"{number:05d}"
        for draw in range(2):
            picture(place / "samples" / f"{draw:04d}.png", 10 * number + draw)
        picture(place / "grid.png")
        (place / "metadata.jsonl").write_text(json.dumps({"tag": "x", "prompt": prompt}))
    return folder


def test_genevals_folders_are_prompts_and_its_files_draws(tmp_path: Path) -> None:
    geneval(tmp_path, "a bench", "a cow")
    (tmp_path / "00000" / "samples" / "0001.png.bak").write_bytes(b"")
    (tmp_path / "00001" / "samples" / "0000.png").unlink()
    read = read_folder(tmp_path)
    assert found(read, tmp_path) == {
        (None, "00000", 0): "00000/samples/0000.png",
        (None, "00000", 1): "00000/samples/0001.png",
        (None, "00001", 1): "00001/samples/0001.png",
    }
    assert read.notes == (
        f"Files of {tmp_path} that are no pictures of samples: 1 "
        "(first: 00000/samples/0001.png.bak)",
    )


def test_wises_and_imgedits_files_are_called_by_the_id(tmp_path: Path) -> None:
    for name in ("1.png", "1000.JPG", ".hidden.png"):
        picture(tmp_path / name)
    (tmp_path / "log.txt").write_text("")
    read = read_folder(tmp_path)
    assert found(read, tmp_path) == {(None, "1", 0): "1.png", (None, "1000", 0): "1000.JPG"}
    assert read.notes == (
        f"Files of {tmp_path} that are no pictures of samples: 1 (first: log.txt)",
    )


def test_gedits_folders_say_which_language(tmp_path: Path) -> None:
    for task, language in (("ps_human", "en"), ("ps_human", "cn"), ("text_change", "en")):
        picture(tmp_path / "fullset" / task / language / "k1.png")
        picture(tmp_path / "fullset" / task / language / "k1_SRCIMG.png")
    (tmp_path / "fullset" / "text_change" / "en" / "k1.png").rename(
        tmp_path / "fullset" / "text_change" / "en" / "k2.png"
    )
    expected = {
        ("gedit", "k1", 0): "ps_human/en/k1.png",
        ("gedit-cn", "k1", 0): "ps_human/cn/k1.png",
        ("gedit", "k2", 0): "text_change/en/k2.png",
    }
    assert found(read_folder(tmp_path), tmp_path / "fullset") == expected
    assert found(read_folder(tmp_path / "fullset"), tmp_path / "fullset") == expected
    assert read_folder(tmp_path).notes == ()


def test_hpsv2s_folders_are_styles(tmp_path: Path) -> None:
    picture(tmp_path / "anime" / "00000.jpg")
    picture(tmp_path / "photo" / "00799.jpg")
    assert found(read_folder(tmp_path), tmp_path) == {
        ("hpsv2", "anime/00000", 0): "anime/00000.jpg",
        ("hpsv2", "photo/00799", 0): "photo/00799.jpg",
    }


def test_a_folder_of_no_layout_is_told_which_there_are(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("")
    (tmp_path / "later" / "deeper").mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        read_folder(tmp_path)
    assert f"{tmp_path} is a folder of no layout that is read; it holds: later, readme.md" in str(
        caught.value
    )
    for words in ("00000/samples/0000.png", "fullset/TASK/en/KEY.png", "STYLE/00000.jpg", "ID.png"):
        assert words in caught.value.message
    assert '{"id": "...", "image": "..."}' in str(caught.value.hint)


def test_two_pictures_of_one_sample_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "7.png")
    picture(tmp_path / "7.jpg")
    with pytest.raises(UserError, match=r"7\.jpg and 7\.png are both draw 0 of id '7'"):
        read_folder(tmp_path)


def test_pictures_of_no_sample_are_counted(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        picture(tmp_path / f"{number}.png")
    matched = match_responses(tmp_path, None, index("1", "2", "9"))
    assert [row.id for row in matched.responses] == ["1", "2"]
    assert matched.notes == ("Pictures of no sample of 'toy', which are not read: 1",)
    with pytest.raises(UserError) as caught:
        match_responses(tmp_path, None, index("a/1"))
    assert "none of its 3 pictures is of a sample of 'toy'" in caught.value.message
    assert "begin with 'a/1'" in caught.value.message
    with pytest.raises(UserError, match="--format pairuni names what a file holds"):
        match_responses(tmp_path, Format.PAIRUNI, index("1"))


def test_draws_beyond_those_of_the_benchmark_are_counted(tmp_path: Path) -> None:
    geneval(tmp_path, "a bench")
    matched = match_responses(tmp_path, None, index("00000", draws=1))
    assert [(row.id, row.draw) for row in matched.responses] == [("00000", 0)]
    assert matched.notes == ("Pictures of no sample of 'toy', which are not read: 1",)


# As a model


def ask(model: RecordedModel, key: str, text: str = "", draw: int = 0) -> Reply:
    (reply,) = model.draw([Request((text,), Decoding(), 0, "uid", "toy", key, draw)])
    return reply


def test_a_folder_answers_and_what_it_lacks_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "sdxl-v1.0"
    picture(folder / "1.png", 9)
    (folder / "2.png").write_bytes(b"no picture")
    (folder / "log.txt").write_text("")
    model = RecordedModel.load(str(folder), LoadOptions())
    assert model.identity.name == "sdxl-v1.0"
    reply = ask(model, "1", "anything")
    assert reply.image is not None
    assert reply.image.getpixel((0, 0)) == (9, 9, 9)
    assert "cannot be read" in str(ask(model, "2").error)
    assert ask(model, "3").error == "the folder has no picture for this sample"
    (answer,) = model.answer([Request(("q",), Decoding(), 0, "uid", "toy", "1")])
    assert answer.error == "the folder records no answer for this sample"
    assert "Note: Files of" in caplog.text


def test_a_picture_that_was_made_for_another_prompt_is_no_answer(tmp_path: Path) -> None:
    model = RecordedModel.load(str(geneval(tmp_path, "a bench", "a cow")), LoadOptions())
    assert ask(model, "00001", "a  cow ", draw=1).image is not None
    assert ask(model, "00001", "a bench").error == ("the folder says that it was made for: a cow")


def test_without_readable_metadata_the_number_alone_counts(tmp_path: Path) -> None:
    geneval(tmp_path, "a bench", "a cow")
    (tmp_path / "00000" / "metadata.jsonl").write_text("{")
    (tmp_path / "00001" / "metadata.jsonl").unlink()
    model = RecordedModel.load(str(tmp_path), LoadOptions())
    assert ask(model, "00000", "whatever").image is not None
    assert ask(model, "00001", "whatever").image is not None


def test_its_hash_is_that_of_the_pictures_and_whose_they_are(tmp_path: Path) -> None:
    def weights(folder: Path) -> str:
        return RecordedModel.load(str(folder), LoadOptions()).identity.weights

    for name in ("a", "b", "c", "d"):
        picture(tmp_path / name / "1.png", 1)
        picture(tmp_path / name / "2.png", 2)
    (tmp_path / "c" / "2.png").rename(tmp_path / "c" / "3.png")
    picture(tmp_path / "d" / "2.png", 3)
    a, b, c, d = (weights(tmp_path / name) for name in ("a", "b", "c", "d"))
    assert a == b
    assert len({a, c, d}) == 3


def test_pictures_named_by_index_and_draw(tmp_path: Path) -> None:
    for name in ("0_0", "0_3", "17_1"):
        picture(tmp_path / f"{name}.png")
    assert set(found(read_folder(tmp_path), tmp_path)) == {
        (None, "0", 0),
        (None, "0", 3),
        (None, "17", 1),
    }
    picture(tmp_path / "18.png")  # one that is named otherwise makes all of them ids
    assert set(found(read_folder(tmp_path), tmp_path)) == {
        (None, name, 0) for name in ("0_0", "0_3", "17_1", "18")
    }
