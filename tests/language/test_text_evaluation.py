"""The rows of an evaluation, against numbers worked out by hand or from the samples themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.language.tiny import count_good, reference, values
from vgf.language.decoding import Sampling, decode
from vgf.language.evaluation import _distinct_bigrams, evaluate, example_rows, more_candidates, moving, sharper
from vgf.language.limits import share_changed
from vgf.language.policy import TextPolicy
from vgf.language.scorers import scorer
from vgf.methods import load_method

PROMPTS = ["w1 w2 w3 ", "w4 ", "good w5 bad "]


@pytest.fixture(scope="module")
def policy() -> TextPolicy:
    source = reference()
    method = load_method("hidden")
    method.transport.particles = 4
    return TextPolicy(source, values(source), method, Sampling(6), batch=2)


@pytest.fixture(scope="module")
def found(policy: TextPolicy) -> tuple[list[dict], list[dict]]:
    points = [moving("hidden", policy.method, 1.0, 1), sharper(0.5, 2), *more_candidates([6, 8, 9], 2)]
    judges = {"gold": scorer("regex:good"), "second": scorer("length")}
    rows: list[dict] = []
    examples: list[dict] = []
    chosen = ["good", "w1", ""]
    for some, shown in evaluate(policy, PROMPTS, points, judges, seeds=[4, 5], particles=4, chosen=chosen):
        rows += some
        examples += shown
    return rows, examples


def _row(rows: list[dict], method: str, prompt: int, seed: int = 4, budget: float | None = None) -> dict:
    (row,) = (
        r
        for r in rows
        if (r["method"], r["prompt"], r["seed"]) == (method, prompt, seed) and budget in (None, r["budget"])
    )
    return row


def test_the_reference_is_its_own_twin(policy: TextPolicy, found: tuple) -> None:
    for prompt in range(3):
        row = _row(found[0], "reference", prompt)
        samples = decode(
            policy.reference, policy.reference.prompts(PROMPTS[prompt : prompt + 1], first=prompt), 4, Sampling(6), 4
        )
        texts = policy.texts(samples)
        assert row["gold"] == pytest.approx(sum("good" in text.split() for text in texts) / 4)
        assert row["tokens_changed"] == row["travelled"] == 0
        assert row["kl"] == pytest.approx(0, abs=1e-3)
        quarter = samples.log_probs[:, :1].sum() / samples.mask[:, :1].sum()
        assert row["nll"] == pytest.approx(-float(quarter), rel=1e-3)
        assert row["candidates"] == 4
        assert row["beats_chosen"] == pytest.approx(
            sum(("good" in text.split()) > ("good" in ["good", "w1", ""][prompt]) for text in texts) / 4
        )


@pytest.mark.parametrize(("sampling", "known"), [(Sampling(6, 0.5), True), (Sampling(6, top_p=0.5), False)])
def test_kl_is_from_the_reference_as_it_is_sampled(policy: TextPolicy, sampling: Sampling, known: bool) -> None:
    sampled = TextPolicy(policy.reference, policy.values, policy.method, sampling)
    points = [moving("hidden", policy.method, 1.0, 1)]
    ((rows, _),) = evaluate(sampled, PROMPTS, points, {"gold": scorer("regex:good")}, seeds=[4], particles=4)
    reference_rows, moved = rows[:3], rows[3:]
    if known:
        assert [row["kl"] for row in reference_rows] == pytest.approx([0.0] * 3, abs=1e-3)
        assert sum(row["kl"] for row in moved) > 0
    else:
        assert not any("kl" in row for row in rows)
    assert all(row["nll"] > 0 for row in rows)


def test_at_temperature_one_a_text_is_read_once_for_nll_and_kl(
    policy: TextPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    plain = policy.reference.log_probs
    monkeypatch.setattr(policy.reference, "log_probs", lambda *of: reads.append(of) or plain(*of))
    points = [moving("hidden", policy.method, 1.0, 1)]
    ((rows, _),) = evaluate(policy, PROMPTS[:2], points, {"gold": scorer("regex:good")}, seeds=[4], particles=4)
    assert all("kl" in row for row in rows)
    assert len(reads) == 1, "the moved ones; the reference's own samples know their probabilities"


def test_twins_that_were_drawn_count_as_candidates_beside_the_moved_ones(found: tuple) -> None:
    counts = {(row["method"], row["candidates"]) for row in found[0]}
    drawn = {("best_of_n", count) for count in (6, 8, 9)}
    assert counts == {("reference", 4), ("hidden", 8), ("temperature", 8)} | drawn


def test_distinct_bigrams_are_counted_up_to_the_end_of_each_text(policy: TextPolicy) -> None:
    """Of ``7 8 7 8`` and ``7 8``: three pairs and one, of which two differ; padding makes no pair."""
    samples = decode(policy.reference, policy.reference.prompts(["w1 "]), 2, Sampling(4), 0)
    mask = torch.tensor([[[True] * 4, [True, True, False, False]]])
    samples = replace(samples, tokens=torch.tensor([[[7, 8, 7, 8], [7, 8, 0, 0]]]), mask=mask)
    assert _distinct_bigrams(samples).tolist() == [2 / 4]


def test_more_candidates_are_never_worth_less_to_the_proxy(found: tuple) -> None:
    for prompt in range(3):
        for seed in (4, 5):
            few = _row(found[0], "reference", prompt, seed)["proxy_selected"]
            six, nine = (_row(found[0], "best_of_n", prompt, seed, n) for n in (6, 9))
            assert few <= six["proxy_selected"] <= nine["proxy_selected"]
            assert six["seconds"] < nine["seconds"]
            assert "gold" not in six, "further samples alone are just the reference"


def test_six_candidates_are_the_first_six_samples(policy: TextPolicy, found: tuple) -> None:
    prompts = policy.reference.prompts(PROMPTS)
    rewards = policy.score(decode(policy.reference, prompts, 9, Sampling(6), 4), policy.values.reward)
    for prompt in range(3):
        for count in (6, 9):
            best = _row(found[0], "best_of_n", prompt, budget=count)["proxy_selected"]
            assert best == pytest.approx(float(rewards[prompt, :count].max()), abs=1e-5)


def test_further_samples_are_nobody_s_twins(found: tuple) -> None:
    rows, examples = found
    drawn = [row for row in rows if row["method"] == "best_of_n"]  # of 8 as many are further ones as there are
    assert not any("tokens_changed" in row or "travelled" in row for row in drawn)
    assert not any(example["method"] == "best_of_n" for example in examples)


def test_points_use_as_many_seeds_as_they_say(found: tuple) -> None:
    seeds = {method: {r["seed"] for r in found[0] if r["method"] == method} for method in ("hidden", "temperature")}
    assert seeds == {"hidden": {4}, "temperature": {4, 5}}
    assert all("nll" not in r for r in found[0] if r["seed"] == 5), "NLL and KL are measured on the first seed"


def test_points_use_as_many_batches_as_hold_their_prompts(policy: TextPolicy) -> None:
    few = replace(moving("hidden", policy.method, 1.0, 2), prompts=1)
    judges = {"gold": scorer("regex:good")}
    places = [evaluate(policy, PROMPTS, [few], judges, seeds=[4, 5], particles=4, places=[k]) for k in range(4)]
    moved = [[row["prompt"] for row in next(rows)[0] if row["method"] == "hidden"] for rows in places]
    assert moved == [[0, 1], [], [0, 1], []]  # the first batch holds two


def test_sharper_samples_are_likelier(found: tuple) -> None:
    mean = {m: sum(_row(found[0], m, p)["nll"] for p in range(3)) for m in ("reference", "temperature")}
    assert mean["temperature"] < mean["reference"]


def test_greedy_samples_have_no_kl(policy: TextPolicy) -> None:
    """Their log probabilities are those at temperature 1, which is not the law that they are of."""
    judges = {"gold": scorer("regex:good")}
    ((rows, _),) = evaluate(policy, PROMPTS[:1], [sharper(0.0, 1)], judges, seeds=[4], particles=4)
    assert ["kl" in row for row in rows] == [True, False]


def test_examples_mark_what_changed(found: tuple) -> None:
    rows = example_rows(found[1], each=2)
    assert len([r for r in rows if r["method"] == "hidden"]) == 2
    for row in found[1]:
        for k, (piece, changed) in enumerate(zip(row["after"], row["changed"], strict=True)):
            assert changed == (k >= len(row["before"]) or row["before"][k] != piece)


def test_share_changed_counts_either_text(policy: TextPolicy) -> None:
    samples = decode(policy.reference, policy.reference.prompts(PROMPTS), 3, Sampling(6), 0)
    other = decode(policy.reference, policy.reference.prompts(PROMPTS), 3, Sampling(6), 1)
    shares = share_changed(samples, other)
    for b in range(3):
        for n in range(3):
            a, c = (x.tokens[b, n][x.mask[b, n]].tolist() for x in (samples, other))
            longest = max(len(a), len(c))
            same = sum(p == q for p, q in zip(a, c, strict=False))
            assert float(shares[b, n]) == pytest.approx((longest - same) / longest)
    assert count_good([""], ["good bad good"]) == [1.0]
    assert torch.equal(share_changed(samples, samples), torch.zeros(3, 3))
