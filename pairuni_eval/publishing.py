"""Files on their way to a repository of the hub: what would be sent, and sending it.

The upload is the hub client's own (one commit for all files). The token comes from the environment
(HF_TOKEN) and from nowhere else; no file that holds it, or the value of another variable that is
named like a secret, is sent, and no error repeats it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from pairuni_eval.download import hub_connection
from pairuni_eval.errors import UserError, writing

TOKEN = "HF_TOKEN"
_SECRET = re.compile(r".*(TOKEN|KEY|SECRET|PASSWORD|CREDENTIALS?)", re.IGNORECASE)
_LEAST = 8  # characters of a secret: shorter values occur in any file
_BLOCK = 1 << 20
_WEIGHTS = ".safetensors"  # numbers, which are not searched

RepoKind = Literal["model", "dataset"]


class PublishedFile(NamedTuple):
    """A file and where it goes.

    Attributes:
        path: In the repository.
        source: The file on this machine.
    """

    path: str
    source: Path

    @property
    def size(self) -> int:
        """Bytes."""
        return self.source.stat().st_size


class Publication(NamedTuple):
    """What goes to one repository, in one commit.

    Attributes:
        repo: OWNER/NAME.
        message: Of the commit.
    """

    repo: str
    kind: RepoKind
    files: tuple[PublishedFile, ...]
    message: str

    def listed(self) -> Iterator[str]:
        """Every file with its bytes and where it lies, a line each."""
        total = sum(one.size for one in self.files)
        yield f"{self.repo} ({self.kind}): {len(self.files)} files, {total:,} bytes"
        width = max(len(one.path) for one in self.files)
        for one in self.files:
            yield f"{one.size:>16,}  {one.path:{width}}  {one.source}"


def check_publication(publication: Publication) -> None:
    """Check the name of the repository, and that no file holds a secret.

    Raises:
        UserError: naming the file and the variable whose value it holds, never the value.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined] # not in its list

    owner, slash, name = publication.repo.partition("/")
    try:
        validate_repo_id(publication.repo)
    except HFValidationError as failure:
        raise UserError(f"--to {publication.repo}: {failure}.", hint="--to OWNER/NAME") from failure
    if not (owner and slash and name):
        raise UserError(
            f"--to {publication.repo} does not name a repository.", hint="--to OWNER/NAME"
        )
    secrets = _secrets()
    for one in publication.files:
        variable = _held(one.source, secrets) if one.source.suffix != _WEIGHTS else None
        if variable is not None:
            raise UserError(
                f"{one.source} holds the value of the environment variable {variable}: nothing is "
                "sent.",
                hint=f"Take it out of the file; if it was published before, replace {variable}.",
            )


def _secrets() -> dict[bytes, str]:
    """Values of variables that are named like secrets."""
    return {
        value.encode(): name
        for name, value in os.environ.items()
        if _SECRET.fullmatch(name) and len(value) >= _LEAST
    }


def _held(path: Path, secrets: dict[bytes, str]) -> str | None:
    """The variable whose value a file holds; None if it holds none."""
    if not secrets:
        return None
    longest, before = max(map(len, secrets)), b""
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            text = before + block
            for value, name in secrets.items():
                if value in text:
                    return name
            before = text[-longest:]
    return None


def staged(folder: Path, contents: Mapping[str, str]) -> tuple[PublishedFile, ...]:
    """Write files that are made for a repository into a folder, for people to look at first.

    Args:
        folder: Where they are written; what an earlier call wrote there is replaced.
        contents: Text by path in the repository.

    Raises:
        UserError: if the folder cannot be written.
    """
    with writing(str(folder)):
        for path, text in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(text.encode("utf-8", errors="replace"))
    return tuple(PublishedFile(path, folder / path) for path in contents)


def push(publication: Publication, *, private: bool = False, replace: bool = False) -> str:
    """Send all files in one commit; returns its address.

    Args:
        publication: What is sent, checked.
        private: Whether a repository that is made for it is private.
        replace: Whether files of these names that are there are replaced.

    Raises:
        UserError: without a token, for files that are there, and for whatever the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(token=_token())
    repo, kind = publication.repo, publication.kind
    with _explained(repo):
        api.create_repo(repo, repo_type=kind, private=private or None, exist_ok=True)
        there = set(api.list_repo_files(repo, repo_type=kind))
    taken = [one.path for one in publication.files if one.path in there]
    if taken and not replace:
        raise UserError(
            f"{repo} has {_some(taken)} already.",
            hint="--replace puts these in their place; the former ones stay in its history.",
        )
    operations = [
        CommitOperationAdd(path_in_repo=one.path, path_or_fileobj=one.source)
        for one in publication.files
    ]
    with _explained(repo):
        done = api.create_commit(
            repo, operations, commit_message=publication.message, repo_type=kind
        )
    return str(done.commit_url)


def _token() -> str:
    from huggingface_hub.constants import is_offline_mode

    if is_offline_mode():
        raise UserError("HF_HUB_OFFLINE is set, so nothing is sent.", hint="unset HF_HUB_OFFLINE")
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise UserError(
            f"{TOKEN} is not set: the hub takes files from somebody it knows.",
            hint=f"export {TOKEN}=...: a token that may write, from the hub's settings.",
        )
    return token


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """What the hub or the way to it refuses, as a sentence without the token."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined] # its own HTTP client

    try:
        with hub_connection():
            yield
    except HfHubHTTPError as failure:
        status = failure.response.status_code if failure.response is not None else None
        hint = f"See that {TOKEN} may write there." if status in (401, 403, 404) else ""
        raise UserError(f"{repo}: the hub refuses: {_words(failure)}.", hint=hint) from None
    except (OSError, httpx.HTTPError) as failure:
        raise UserError(f"{repo}: no connection to the hub: {_words(failure)}.") from None


def _words(failure: Exception) -> str:
    """The first line of an error that says something, without the token."""
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    said = (lines or [type(failure).__name__])[0].rstrip(".")
    token = os.environ.get(TOKEN, "").strip()
    return said.replace(token, "...") if token else said


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
