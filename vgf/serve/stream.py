"""Server-sent events, token by token, while the model decodes in its thread."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vgf.serve.batching import Batcher
from vgf.serve.choices import event
from vgf.serve.decoder import Completion, Token
from vgf.serve.http import as_refusal, error_body
from vgf.serve.pieces import Pieces

if TYPE_CHECKING:
    from vgf.serve.text import Job

__all__ = ["events"]

_Told = tuple[int, Token | Completion | Exception]


async def events(job: Job, batcher: Batcher, tokenizer: Any) -> AsyncIterator[str]:
    """The stream of a request whose texts are known token by token. An error in the midst is an event of its own."""
    told: asyncio.Queue[_Told] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def decode(index: int) -> None:
        def tell(token: Token) -> None:  # from the model's thread
            loop.call_soon_threadsafe(told.put_nowait, (index, token))

        try:
            (done,) = await batcher.answers([(job.keys[index], replace(job.rows[index], told=tell))])
            told.put_nowait((index, done))
        except Exception as error:  # to be told to the caller, whatever it is
            told.put_nowait((index, error))

    tasks = [asyncio.create_task(decode(index)) for index in range(len(job.rows))]
    try:
        async for part in _parts(job, tokenizer, told, tasks):
            yield part
    except Exception as error:
        said = as_refusal(error)
        if said.status == 500:  # nobody else prints it: raised on, it would break the connection off
            traceback.print_exception(error, file=sys.stderr)
        yield event(error_body(said))
    finally:
        for task in tasks:
            task.cancel()


async def _parts(
    job: Job, tokenizer: Any, told: asyncio.Queue[_Told], tasks: list[asyncio.Task[None]]
) -> AsyncIterator[str]:
    head = job.head | {"object": job.form.stream_kind} | job.own()
    texts = [Pieces(tokenizer, job.fields.stops()) for _ in job.rows]
    seen, lengths, open_rows = [0] * len(texts), [0] * len(texts), set(range(len(texts)))

    def part(index: int, text: str, reason: str | None, logprobs: Any = None, first: bool = False) -> str:
        return event(head | {"choices": [job.form.part(index, text, reason, logprobs, first)]})

    for index in open_rows:
        yield part(index, "", None, first=True)
    while open_rows:
        index, news = await told.get()
        if isinstance(news, Exception):
            raise news
        if index not in open_rows:
            continue
        if isinstance(news, Completion):
            yield part(index, texts[index].rest(), "stop" if news.ended or texts[index].stopped else "length")
        elif news.place == seen[index]:  # a row that is decoded again, apart from a neighbour that failed, repeats
            seen[index] += 1
            text, begin = texts[index].add(news.token), lengths[index]
            lengths[index] += len(text)
            logprobs = job.form.logprobs([news], [text], begin) if job.fields.wants_logprobs() else None
            if text or logprobs:
                yield part(index, text, None, logprobs)
            if not texts[index].stopped:
                continue
            tasks[index].cancel()
            yield part(index, "", "stop")
        else:
            continue
        open_rows.remove(index)
    if (job.fields.stream_options or {}).get("include_usage"):
        yield event(head | {"choices": [], "usage": job.usage(seen)})
    yield event(None)
