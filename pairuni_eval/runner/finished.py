"""A finished run that is asked for again, told without the model.

What a command asks for is known without loading a model: the weights by the digest of their files,
everything else by the command itself, the cards, the judges and the version of this package. Where
all of that is as it was, and no judge left a question open, nothing can be owed. Whatever is not
told so is left to the long way, which loads the model and says what differs.
"""

from __future__ import annotations

import msgspec

from pairuni_eval import __version__
from pairuni_eval.adapters import find_adapter
from pairuni_eval.errors import UserError
from pairuni_eval.models.checkpoint import is_hub_id, locate
from pairuni_eval.models.weights import digest_of, joint_digest
from pairuni_eval.places import is_file
from pairuni_eval.records import RunCard
from pairuni_eval.runner.judging import card_fields, open_questions
from pairuni_eval.runner.plan import as_begun, check_installed, load_components
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.store import layout
from pairuni_eval.store.locks import exclusive
from pairuni_eval.store.read import StoredRun, read_run_card
from pairuni_eval.store.seal import remove_rows


def is_done(settings: RunSettings) -> bool:
    """Whether the run folder holds all that is asked for, compared with its mark.

    False says nothing: loading the model may find the same.

    Raises:
        UserError: if a file of the finished run is changed, or somebody works on it.
    """
    run = settings.out
    if not (is_file(run / layout.COMPLETE) and is_file(run / layout.RUN_FILE)):
        return False
    card = read_run_card(run)
    if not (_is_asked(settings, card) and _has_weights(settings, card)):
        return False
    with exclusive(run):
        stored = StoredRun(run)
        stored.verify()
        if not (_has_cards(settings, stored) and _has_judges(settings, stored)):
            return False
        remove_rows(run)
    return True


def _is_asked(settings: RunSettings, card: RunCard) -> bool:
    """Whether the command is the one that the run was begun with, and reads no other run."""
    same = card.code == __version__ and card.command == settings.command()
    return same and settings.painter is None


def _has_weights(settings: RunSettings, card: RunCard) -> bool:
    """Whether the checkpoint is here and has the very weights of the run."""
    if is_hub_id(settings.checkpoint):
        return False
    try:
        adapter = find_adapter(settings.checkpoint, settings.adapter).adapter
        if adapter != card.checkpoint.adapter:
            return False
        places = [one for one in locate(settings.checkpoint) if one is not None]
        return joint_digest([digest_of(one) for one in places]) == card.checkpoint.weights
    except UserError:  # of a form whose weights are known otherwise; loading it says what is wrong
        return False


def _has_cards(settings: RunSettings, stored: StoredRun) -> bool:
    """Whether the benchmarks are those of the run, by every word of their cards."""
    cards = [as_begun(settings, card) for card in settings.cards()]
    return stored.cards.keys() == {card.name for card in cards} and all(
        msgspec.structs.replace(card, expected=stored.cards[card.name].expected)
        == stored.cards[card.name]
        for card in cards
    )


def _has_judges(settings: RunSettings, stored: StoredRun) -> bool:
    """Whether the judges are those of the run, and none of them is to be asked again."""
    if next(open_questions(stored.folder), None) is not None:
        return False
    check_installed(settings)
    components = load_components(settings)
    for name, known in stored.card.benchmarks.items():
        now = card_fields(components.passes(name))
        if (now.get("judge"), now.get("second_judge")) != (known.judge, known.second_judge):
            return False
    return True
