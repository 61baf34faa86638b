"""A small language run on disk: tiny model, value heads, a reward in its own tokens; made in a second or two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from omegaconf import OmegaConf

from tests.language.tiny import classifier, reference, values
from vgf.config import Config
from vgf.language.loading import note_parts, save_heads
from vgf.methods import load_method

__all__ = ["save_text_run"]

CHAT = "{% for m in messages %}{{ m['content'] }} {% if m['role'] == 'system' %}w19 {% endif %}{% endfor %}good "


def save_text_run(folder: Path, *, particles: int = 4) -> Path:
    """A finished run of ``task=llm_reward`` in ``folder/run``; the reference and the reward are beside it."""
    source, run = reference(), folder / "run"
    source.tokenizer.chat_template = CHAT
    for name, part in (("model", source), ("reward", classifier())):
        part.model.save_pretrained(folder / name)
        part.tokenizer.save_pretrained(folder / name)
    found = values(source, steps=60)
    assert found.heads is not None
    assert found.tokens is not None
    save_heads(run, {"heads": found.heads, "tokens": found.tokens})
    config = Config(task="llm_reward", env=None, run_dir=str(run), **vars(load_method("hidden")))
    config.transport = replace(config.transport, particles=particles)
    config.text = replace(
        config.text, model=str(folder / "model"), cache=str(folder / "cache"), dtype="float32", new_tokens=6
    )
    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True))
    note_parts(run, proxy="reference", reward_path=str(folder / "reward"))
    return run
