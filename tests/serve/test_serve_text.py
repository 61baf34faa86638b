"""A language run behind OpenAI's protocol, asked by the official client."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vgf
from vgf import Budget
from vgf.language.decoding import decode
from vgf.language.policy import TextPolicy

openai = pytest.importorskip("openai")
PROMPT = "w1 w2 w3 "


@pytest.fixture(scope="module")
def client(text_server: str) -> Any:
    return openai.OpenAI(base_url=f"{text_server}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def policy(text_run: Path) -> TextPolicy:
    return vgf.load(text_run)


def complete(client: Any, **asked: Any) -> Any:
    own = {name: asked.pop(name) for name in ("transport_budget", "particles") if name in asked}
    return client.completions.create(**{"model": "run", "prompt": PROMPT, "seed": 3} | asked, extra_body=own)


def test_the_model_has_the_name_of_the_run(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["run"]
    assert client.models.retrieve("run").id == "run"
    with pytest.raises(openai.NotFoundError, match="this server has 'run'"):
        client.models.retrieve("gpt")


@pytest.mark.parametrize(
    ("asked", "budget"),
    [(None, None), (0, Budget(steps=0)), (0.4, Budget(size=0.4)), ({"steps": 2, "radius": 0.1}, Budget(2, None, 0.1))],
)  # fmt: skip
def test_an_answer_is_what_the_policy_generates(client: Any, policy: TextPolicy, asked: Any, budget: Any) -> None:
    prompts = [PROMPT, "w4 w5 ", "w6 "]
    found = complete(client, prompt=prompts, n=2, transport_budget=asked)
    texts = [policy.generate(prompts, budget=budget, seed=seed) for seed in (3, 4)]
    assert [choice.text for choice in found.choices] == [texts[i % 2][i // 2] for i in range(6)]
    assert found.transport["seed"] == 3


def test_budgets_differ_and_zero_is_the_reference(client: Any, policy: TextPolicy) -> None:
    reference = decode(policy.reference, policy.reference.prompts([PROMPT]), 1, policy.sampling, 3)
    zero = complete(client, transport_budget=0, particles=1)
    assert zero.choices[0].text == policy.texts(reference)[0]
    assert zero.choices[0].transport == {"reward": None, "moved": False}
    assert not any(choice.transport["moved"] for choice in complete(client, transport_budget=0, n=4).choices)
    assert complete(client, transport_budget=0.4, particles=1).choices[0].text != zero.choices[0].text


def test_sampling_is_per_request(client: Any, policy: TextPolicy) -> None:
    own = policy.sampling
    try:
        policy.sampling = replace(own, new_tokens=3, temperature=0.5, top_p=0.7)
        expected = policy.generate([PROMPT], seed=3)
    finally:
        policy.sampling = own
    found = complete(client, max_tokens=3, temperature=0.5, top_p=0.7)
    assert [choice.text for choice in found.choices] == expected
    assert found.usage.completion_tokens <= 3
    cold = [complete(client, temperature=0, seed=seed, transport_budget=0).choices[0].text for seed in (1, 2)]
    assert cold[0] == cold[1]


def test_token_ids_are_prompts(client: Any) -> None:
    ids = [3, 4, 5]  # w1 w2 w3
    texts = [complete(client, prompt=prompt).choices[0].text for prompt in ("w1 w2 w3", ids, [ids])]
    assert texts[0] == texts[1] == texts[2]


def test_a_conversation_goes_through_the_chat_template(client: Any) -> None:
    def answer(*messages: dict[str, Any]) -> str:
        asked = {"model": "run", "seed": 3, "messages": list(messages), "extra_body": {"particles": 1}}
        return client.chat.completions.create(**asked).choices[0].message.content

    plain = answer({"role": "user", "content": "w1 w2"})
    assert plain == answer({"role": "user", "content": [{"type": "text", "text": "w1 w2"}]})
    assert plain == complete(client, prompt="w1 w2 good ", particles=1).choices[0].text
    told = answer({"role": "system", "content": "w5"}, {"role": "user", "content": "w1"})
    assert told == complete(client, prompt="w5 w19 w1 good ", particles=1).choices[0].text


def test_text_ends_before_a_stop_string(client: Any) -> None:
    whole = complete(client, particles=1)
    words = whole.choices[0].text.split(" ")
    cut = complete(client, particles=1, stop=f" {words[2]}", logprobs=0)
    assert cut.choices[0].text == " ".join(words[:2])
    assert cut.choices[0].finish_reason == "stop"
    assert "".join(cut.choices[0].logprobs.tokens) == cut.choices[0].text
    assert complete(client, particles=1, stop=["absent"]).choices[0].text == whole.choices[0].text


def test_log_probabilities_are_those_of_the_reference_at_budget_zero(client: Any, policy: TextPolicy) -> None:
    found = complete(client, particles=1, transport_budget=0, logprobs=0).choices[0].logprobs
    samples = decode(policy.reference, policy.reference.prompts([PROMPT]), 1, policy.sampling, 3)
    own = policy.reference.log_probs(samples.prompts, samples.tokens, samples.mask)[0, 0][samples.mask[0, 0]]
    torch.testing.assert_close(torch.tensor(found.token_logprobs), own)
    said = client.chat.completions.create(
        model="run", seed=3, messages=[{"role": "user", "content": "w1"}], logprobs=True
    ).choices[0]
    assert "".join(token.token for token in said.logprobs.content) == said.message.content


@pytest.mark.parametrize(
    "asked", [{"particles": 1}, {"particles": 1, "n": 3}, {"n": 2}, {"particles": 1, "stop": " w"}]
)
def test_a_stream_is_the_answer_in_pieces(client: Any, asked: dict[str, Any]) -> None:
    whole = complete(client, **asked)
    parts = list(complete(client, stream=True, stream_options={"include_usage": True}, **asked))
    for choice in whole.choices:
        own = [part.choices[0] for part in parts if part.choices and part.choices[0].index == choice.index]
        assert "".join(part.text for part in own) == choice.text
        assert [part.finish_reason for part in own if part.finish_reason] == [choice.finish_reason]
        if asked == {"particles": 1}:
            assert len([part for part in own if part.text]) > 2  # token by token
    assert parts[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert {part.transport["seed"] for part in parts} == {3}
    assert all(part.transport == whole.transport for part in parts)


def test_a_chat_stream_begins_with_the_role(client: Any) -> None:
    asked = {"model": "run", "seed": 3, "messages": [{"role": "user", "content": "w1"}]}
    for own in ({"particles": 1}, {}):
        whole = client.chat.completions.create(**asked, extra_body=own).choices[0].message.content
        parts = [part.choices[0].delta for part in client.chat.completions.create(**asked, stream=True, extra_body=own)]
        assert parts[0].role == "assistant"
        assert "".join(part.content or "" for part in parts) == whole


def test_an_answer_does_not_depend_on_who_asks_at_the_same_time(client: Any) -> None:
    requests = [
        {"prompt": f"w{i % 5} w{i % 7} w{i % 3}", "seed": i, "particles": (1, 4)[i % 2], "logprobs": 0}
        for i in range(12)
    ]

    def ask(asked: dict[str, Any]) -> tuple[Any, ...]:
        choice = complete(client, **asked).choices[0]
        return choice.text, choice.transport["moved"], choice.transport["reward"], choice.logprobs.token_logprobs

    alone = [ask(asked) for asked in requests]
    with ThreadPoolExecutor(12) as threads:
        together = list(threads.map(ask, requests))
    assert [answer[:2] for answer in together] == [answer[:2] for answer in alone]
    for (*_, reward, log_probs), (*_, reward_alone, log_probs_alone) in zip(together, alone, strict=True):
        assert reward == pytest.approx(reward_alone, abs=1e-5)  # how a product rounds may depend on its rows
        assert log_probs == pytest.approx(log_probs_alone, abs=1e-5)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"transport_budget": 9}, "limit of 0.4 for hidden"),
        ({"transport_budget": -1}, "budget.size=-1"),
        ({"transport_budget": "much"}, "a number or an object"),
        ({"transport_budget": {"stpes": 1}}, "no 'stpes'"),
        ({"transport_budget": {"steps": 1.5}}, "whole number"),
        ({"transport_budget": {"steps": 10_000}}, "limit of 16"),
        ({"particles": 1000}, "particles=1000 is out of range"),
        ({"n": 65}, "n=65 is out of range"),
        ({"n": 0}, "n=0 is out of range"),
        ({"n": 40, "prompt": ["w1", "w2"]}, "limit of 64"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"max_tokens": 200}, "beyond the context of 64"),
        ({"temperature": 1e-9}, "temperature"),
        ({"top_p": 0}, "top_p=0"),
        ({"stop": [""]}, "stop is at most 4"),
        ({"seed": -1}, "seed=-1"),
        ({"prompt": ""}, "a prompt is empty"),
        ({"prompt": []}, "a prompt is empty"),
        ({"prompt": [999]}, "token 999"),
        ({"logprobs": 2}, "logprobs=2 is not implemented"),
        ({"echo": True}, "echo=True is not implemented"),
        ({"best_of": 3}, "best_of=3 is not implemented"),
        ({"presence_penalty": 1}, "presence_penalty"),
    ],
)
def test_what_cannot_be_honoured_is_refused(client: Any, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        complete(client, **asked)
    assert caught.value.body["type"] == "invalid_request_error"
    assert caught.value.body["param"] in (*asked, "prompt")


def test_a_conversation_that_is_none(client: Any) -> None:
    for messages, said in (
        ([], "messages is empty"),
        ([{"role": "king", "content": "w1"}], "messages.0.role"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "messages.0.content"),
    ):
        with pytest.raises(openai.BadRequestError, match=said):
            client.chat.completions.create(model="run", messages=messages)


def test_a_misspelt_field_is_named(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="Did you mean 'transport_budget'"):
        client.completions.create(model="run", prompt=PROMPT, extra_body={"transport_bugdet": 1})
