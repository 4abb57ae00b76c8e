from __future__ import annotations

from cursorpipe_server.model_labels import OTHER, ModelLabels


def test_a_model_that_exists_has_its_name() -> None:
    assert ModelLabels().real("a") == "a"


def test_a_model_that_is_only_asked_for_has_none_of_its_own() -> None:
    labels = ModelLabels()
    assert labels.claimed("a") == OTHER
    labels.real("a")
    assert labels.claimed("a") == "a"


def test_there_are_no_more_names_than_may_be() -> None:
    labels = ModelLabels(most=2)
    assert [labels.real(name) for name in "abcab"] == ["a", "b", OTHER, "a", "b"]
