from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from cursorpipe_core import catalogue as catalogue_module
from cursorpipe_core.catalogue import Catalogue, parse_models
from cursorpipe_core.completion import Model
from cursorpipe_core.config import AgentSettings
from cursorpipe_core.errors import NetworkError
from cursorpipe_core.instance import Instance

LISTING = """\
Available models

composer-2.5 - Composer 2.5 (current)
auto - Auto (default)
gpt-5.3-codex-high - GPT-5.3 Codex High
odd - Odd (beta) (current, default)

Tip: use --model <id> (or /model <id> in interactive mode) to switch.
"""


class Cli:
    """Lists models, or fails to."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False

    async def list(self, settings: AgentSettings, instance: Instance) -> Sequence[Model]:
        del settings, instance
        self.asked += 1
        if self.fails:
            raise NetworkError("no net")
        return (Model("auto", "Auto"), Model(f"m{self.asked}", "M"))


def catalogue_of(*, models_ttl_s: float = 600) -> Catalogue:
    """Return a catalogue of a CLI that is only asked through ``Cli``."""
    settings = AgentSettings(models_ttl_s=models_ttl_s)
    return Catalogue(settings, Instance(settings.state_dir))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    cli = Cli()
    monkeypatch.setattr(catalogue_module, "list_models", cli.list)
    return cli


def test_the_list_is_read_with_auto_first() -> None:
    assert parse_models(LISTING) == (
        Model("auto", "Auto"),
        Model("composer-2.5", "Composer 2.5"),
        Model("gpt-5.3-codex-high", "GPT-5.3 Codex High"),
        Model("odd", "Odd (beta)"),
    )


def test_auto_is_there_even_for_an_account_without_models() -> None:
    assert parse_models("No models available for this account.\n") == (Model("auto", "Auto"),)


async def test_the_list_is_kept_for_its_time(cli: Cli) -> None:
    catalogue = catalogue_of(models_ttl_s=1000)
    assert await catalogue.models() == await catalogue.models()
    assert cli.asked == 1


async def test_all_who_ask_at_once_are_told_by_one_question(cli: Cli) -> None:
    catalogue = catalogue_of()
    answers = await asyncio.gather(*(catalogue.models() for _ in range(8)))
    assert len(set(map(tuple, answers))) == 1
    assert cli.asked == 1
    cli.fails = True
    failing = catalogue_of()
    results = await asyncio.gather(*(failing.models() for _ in range(8)), return_exceptions=True)
    assert [type(result) for result in results] == [NetworkError] * 8
    assert cli.asked == 2


async def test_an_old_list_is_better_than_none(cli: Cli) -> None:
    catalogue = catalogue_of(models_ttl_s=0)
    first = await catalogue.models()
    cli.fails = True
    assert await catalogue.models() == first
    cli.fails = False
    assert await catalogue.models() != first


async def test_without_any_list_the_reason_is_raised(cli: Cli) -> None:
    cli.fails = True
    with pytest.raises(NetworkError):
        await catalogue_of().models()


async def test_a_list_that_is_there_is_judged_by_a_new_time(cli: Cli) -> None:
    catalogue = catalogue_of(models_ttl_s=1000)
    await catalogue.models()
    catalogue.adopt(AgentSettings(models_ttl_s=0))
    await catalogue.models()
    assert cli.asked == 2
