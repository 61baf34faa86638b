"""Films of episodes: what is on them, that they find their way onto the page, and that a run never stops for one."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.toy_env import Walk
from tests.toy_film import Drawn, Undrawable
from vgf import films
from vgf.config import Config
from vgf.evaluation import Decision
from vgf.films import film_episodes
from vgf.report.films import films as on_the_page


class Right:
    """A policy that walks right as fast as its budget says."""

    step = 7

    def noise_shape(self, method):
        return 1, 1

    def decide(self, obs, noise, budget, method):
        pace = np.full((len(obs), 1, 1), budget.size, np.float32)
        nothing = np.zeros(len(obs))
        return Decision(pace, nothing, nothing, nothing)


def config(videos: int = 1) -> Config:
    made = Config()
    made.eval.videos, made.budget.size = videos, 1.0
    return made


@pytest.fixture
def draws(monkeypatch):
    monkeypatch.setattr(films, "rendering_backend", lambda: "disable")


def test_the_configured_budget_and_the_reference_are_filmed(draws, tmp_path, capsys):
    film_episodes(config(), tmp_path, Right(), Drawn)
    assert capsys.readouterr().out == ""
    index = json.loads((tmp_path / "videos/index.json").read_text())
    assert [(entry["budget"], entry["success"], entry["step"]) for entry in index] == [(0, False, 7), (1, True, 7)]
    assert {path.name for path in (tmp_path / "videos").iterdir()} == {"index.json", *(e["file"] for e in index)}
    with Image.open(tmp_path / "videos" / index[1]["file"]) as film:
        assert film.size == (240, 19)
        assert film.n_frames == 2 + (index[1]["length"] - 1) // 5  # first, last, and every fifth of 200 steps at most
        places = []
        for frame in range(film.n_frames):
            film.seek(frame)
            places.append(np.asarray(film.convert("L")).mean(0).argmax())
        assert places == sorted(places)
        assert places[-1] > places[0]


def test_films_of_an_earlier_evaluation_are_replaced(draws, tmp_path):
    film_episodes(config(videos=2), tmp_path, Right(), Drawn)
    assert len(list(tmp_path.glob("videos/*.gif"))) == 4
    film_episodes(config(), tmp_path, Right(), Drawn)
    assert len(list(tmp_path.glob("videos/*.gif"))) == 2


@pytest.mark.parametrize("environment", [Undrawable, Walk])
def test_an_environment_that_cannot_be_drawn_costs_one_line(draws, tmp_path, capsys, environment):
    film_episodes(config(), tmp_path, Right(), environment)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert said[0].startswith("no videos: ")
    assert on_the_page(tmp_path) == ""


def test_without_a_backend_one_line_says_so_and_without_videos_nothing_is_tried(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(films, "rendering_backend", lambda: None)
    film_episodes(config(), tmp_path, Right(), Drawn)
    assert re.fullmatch("no videos: neither EGL nor OSMesa .*\n", capsys.readouterr().out)
    monkeypatch.setattr(films, "rendering_backend", lambda: pytest.fail("tried"))
    film_episodes(config(videos=0), tmp_path, Right(), Drawn)
    assert not (tmp_path / "videos").exists()


def test_the_page_shows_what_the_index_says_and_nothing_else(tmp_path):
    (tmp_path / "videos").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "videos/a.gif")
    (tmp_path / "videos/b.gif").write_text("<svg onload=alert(1)>")
    entry = {
        "file": "a.gif",
        "method": "<b>",
        "budget": 0.5,
        "episode": 3,
        "return": -2.5,
        "success": None,
        "length": 9,
    }
    index = [entry, entry | {"file": "b.gif"}, entry | {"file": "none.gif"}, {"file": "a.gif"}, 3]
    (tmp_path / "videos/index.json").write_text(json.dumps(index))
    html = on_the_page(tmp_path)
    assert html.count("<img") == 1
    assert "&lt;b&gt; at 0.5, episode 3: return -2.50 after 9 steps" in html
    assert "data:image/gif;base64,R0lGOD" in html
    (tmp_path / "videos/index.json").write_text("[[[")
    assert on_the_page(tmp_path) == ""
