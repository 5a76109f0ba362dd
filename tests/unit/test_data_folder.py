"""Which file a row may name, and which files a pattern finds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pairuni_eval.data_folder import DataFolder, files_matching, quoted
from pairuni_eval.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    """outside.txt; set/top.txt, set/data/rows.txt, set/data/images/a.txt; rows lie in set/data."""
    for name in ("outside.txt", "set/top.txt", "set/data/rows.txt", "set/data/images/a.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return DataFolder.around(tmp_path / "set" / "data" / "rows.txt", tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("images/a.txt", "set/data/images/a.txt"),
        ("images\\a.txt", "set/data/images/a.txt"),
        (".\\images\\.\\a.txt", "set/data/images/a.txt"),
        ("images/../rows.txt", "set/data/rows.txt"),
        ("../top.txt", "set/top.txt"),
        ("top.txt", "set/top.txt"),
        ("data/images/a.txt", "set/data/images/a.txt"),
        ("../../set/top.txt", "set/top.txt"),
    ],
)
def test_paths_inside_are_read(folder: DataFolder, name: str, found: str) -> None:
    assert folder.read(name).decode() == found


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../../outside.txt", "leads out of the dataset's folder"),
        ("..\\..\\outside.txt", "leads out of the dataset's folder"),
        ("images/../../../outside.txt", "leads out of the dataset's folder"),
        ("/etc/passwd", "leads out of the dataset's folder"),
        ("//etc/passwd", "leads out of the dataset's folder"),
        ("\\\\host\\share\\a.txt", "leads out of the dataset's folder"),
        ("../../set-other/a.txt", "leads out of the dataset's folder"),
        ("C:\\outside.txt", "names a drive"),
        ("c:outside.txt", "names a drive"),
        ("file:///etc/passwd", "is a URL; nothing is fetched"),
        ("FILE:/etc/passwd", "is a URL; nothing is fetched"),
        ("https://example.org/a.png", "is a URL; nothing is fetched"),
        ("images/a.txt\0.png", "holds a zero byte"),
        ("x" * 300, "a text of 300 characters, too long for a path"),
        ("é" * 200, "a text of 200 characters, too long for a path"),
        ("x/" * 3000, "a text of 6000 characters, too long for a path"),
        ("~/a.txt", "there is no file '~/a.txt' in the dataset's folder"),
        ("$HOME/a.txt", "there is no file"),
        ("images", "there is no file 'images'"),
        ("images/", "there is no file"),
        ("lost.txt", "there is no file 'lost.txt'"),
        ("images/a.txt/b", "there is no file"),
        ("\ud800.txt", "there is no file"),
    ],
)
def test_what_is_not_inside_is_refused_with_the_reason(
    folder: DataFolder, name: str, told: str
) -> None:
    with pytest.raises(DatasetError) as refused:
        folder.read(name)
    assert told in str(refused.value)


def test_an_absolute_path_into_the_folder_is_inside(folder: DataFolder, tmp_path: Path) -> None:
    assert folder.read(str(tmp_path / "set" / "top.txt")) == b"set/top.txt"
    (tmp_path / "alias").symlink_to(tmp_path / "set")
    linked = DataFolder.around(tmp_path / "alias" / "top.txt", tmp_path / "alias")
    assert linked.read(str(tmp_path / "set" / "top.txt")) == b"set/top.txt"
    assert linked.read(str(tmp_path / "alias" / "top.txt")) == b"set/top.txt"


def test_links_of_the_user_are_followed(folder: DataFolder, tmp_path: Path) -> None:
    (tmp_path / "set" / "linked.txt").symlink_to(tmp_path / "outside.txt")
    (tmp_path / "set" / "linked").symlink_to(tmp_path)
    assert folder.read("linked.txt") == b"outside.txt"
    assert folder.read("linked/outside.txt") == b"outside.txt"
    # `..` is worked out in the text: it does not climb out of what a link leads to.
    with pytest.raises(DatasetError, match="there is no file"):
        folder.read("linked/../outside.txt")


def test_only_ordinary_files_are_opened(folder: DataFolder, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "set" / "pipe")
    (tmp_path / "set" / "circle").symlink_to("circle")
    (tmp_path / "set" / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "circle", "zero"):
        with pytest.raises(DatasetError, match="there is no file"):
            folder.read(name)


def test_a_file_of_no_picture_size_is_not_read(folder: DataFolder, tmp_path: Path) -> None:
    with (tmp_path / "set" / "huge").open("wb") as stream:
        stream.truncate(1 << 33)  # sparse
    with pytest.raises(DatasetError, match="the file 'huge' is larger than 512 MiB"):
        folder.read("huge")


def test_without_a_root_the_files_own_folder_is_the_folder(tmp_path: Path) -> None:
    folder = DataFolder.around(tmp_path / "deep" / "rows.txt")
    with pytest.raises(DatasetError, match="leads out"):
        folder.read("../x.txt")


def test_a_text_is_quoted_short_and_printable() -> None:
    assert quoted("a\x1b[31m\n") == "'a\\x1b[31m\\n'"
    assert quoted("x" * 100) == f"'{'x' * 57}...'"


# Patterns


def write(top: Path, *names: str) -> None:
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def found(top: Path, pattern: str) -> list[str]:
    return [path.relative_to(top).as_posix() for path in files_matching(top, pattern)]


@pytest.mark.parametrize(
    "pattern",
    ["*.txt", "**/*.txt", "**/a.*", "b/*.txt", "*/a.txt", "b/**/a.txt", "[ab]/*", "**", "c.txt"],
)
def test_without_links_patterns_find_what_glob_finds(tmp_path: Path, pattern: str) -> None:
    write(
        tmp_path, "c.txt", "a.txt", "b/a.txt", "b/x/a.txt", "a/B.txt", ".hidden/a.txt", "b/.a.txt"
    )
    assert files_matching(tmp_path, pattern) == sorted(tmp_path.glob(pattern))


def test_linked_folders_are_entered_at_any_depth(tmp_path: Path) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    write(top, "a/1.txt")
    write(other, "2.txt", "deep/3.txt")
    (top / "a" / "link").symlink_to(other)
    assert found(top, "**/*.txt") == ["a/1.txt", "a/link/2.txt", "a/link/deep/3.txt"]
    (tmp_path / "alias").symlink_to(top)
    assert found(tmp_path / "alias", "**/*.txt") == found(top, "**/*.txt")
    (other / "4.txt").symlink_to(top / "a" / "1.txt")
    assert found(top, "**/4.txt") == ["a/link/4.txt"]


def test_circles_of_links_end_and_a_folder_counts_once(tmp_path: Path) -> None:
    write(tmp_path, "b/1.txt", "b/c/2.txt")
    for place, target in {
        "a": "b",
        "b/up": "..",
        "b/c/self": ".",
        "z": "b/c",
        "lost": "no",
    }.items():
        (tmp_path / place).symlink_to(target)
    for number in range(20):  # each would double the ways through
        (tmp_path / "b" / f"loop{number}").symlink_to("..")
    assert found(tmp_path, "**/*.txt") == ["b/1.txt", "b/c/2.txt"]


def test_a_folder_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    assert files_matching(tmp_path / "no", "**/*.txt") == []
