"""What the Hugging Face libraries say while vgf works."""

from __future__ import annotations

import warnings

import pytest

from vgf.language.hub import quietly

logging = pytest.importorskip("transformers.utils.logging")
datasets = pytest.importorskip("datasets")


def _settings() -> tuple[int, bool, bool]:
    return logging.get_verbosity(), logging.is_progress_bar_enabled(), datasets.are_progress_bars_disabled()


def test_the_libraries_are_quiet_within_the_block_and_as_before_after_it() -> None:
    before = _settings()
    with quietly():
        assert _settings() == (logging.ERROR, False, True)
        with warnings.catch_warnings(record=True) as told:
            warnings.warn("a name of theirs will go", FutureWarning, stacklevel=1)
        assert not told
    assert _settings() == before


def test_they_speak_again_after_an_error() -> None:
    before = _settings()
    with pytest.raises(RuntimeError, match="whatever"), quietly():
        raise RuntimeError("whatever")
    assert _settings() == before
