"""A language model, a reward, and a budget per call. A script, or cell by cell in an editor that knows ``# %%``.

python -m vgf.run task=llm_reward run_dir=runs/reviews    # models, rewards, heads, scores: a quarter of an hour
python examples/text.py runs/reviews "The film begins with"
"""

# %% The policy of a finished run. Nothing below trains anything.
import sys
from pathlib import Path

import torch

from vgf import Budget, load, transport
from vgf.language.generate import Transported

RUN = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/reviews")
PROMPT = sys.argv[2] if len(sys.argv) > 2 else "The film begins with"
policy = load(RUN)

# %% The budget is an argument of the call. Size 0 is best of N samples of the reference.
for size in (0.0, 0.05, 0.1):
    (text,) = policy.generate([PROMPT], budget=Budget(size=size), seed=0)
    print(f"size {size:<5g}{PROMPT}{text}")

# %% Every particle has a twin: the same noise, decoded by the reference alone.
(prompts,) = policy.batches([PROMPT])
done = policy.move(prompts, Budget(size=0.1), 0, policy.method)
for twin, moved in list(zip(policy.texts(done.twins), policy.texts(done.moved), strict=True))[:3]:
    print(f"reference: {twin!r}\n    moved: {moved!r}")
print(f"reward {done.twin_rewards.mean():.3f} -> {done.rewards.mean():.3f}, without selection")

# %% At budget 0 nothing has changed, token for token.
zero = policy.move(prompts, Budget(size=0.0), 0, policy.method)
assert torch.equal(zero.moved.tokens, done.twins.tokens)

# %% As a transformers model: the tokenizer's output in, token ids out.
tokenizer = policy.reference.tokenizer
model = Transported(policy.reference.model, tokenizer, policy)
inputs = tokenizer([PROMPT], return_tensors="pt", padding=True)
ids = model.generate(**inputs, transport_budget=0.1, max_new_tokens=policy.sampling.new_tokens, num_return_sequences=2)
for line in tokenizer.batch_decode(ids, skip_special_tokens=True):
    print(line)

# %% One step by hand: states of the residual stream climb the value heads, by the transport of control.
heads = policy.values.heads
states = torch.randn(1, 4, policy.reference.width)  # in units of the reference's own spread
moved = transport(
    "grad_step", torch.zeros(1, 1), states, budget=Budget(4, 0.1), step="rms", aggregate="mean",
    critic=lambda context, x: heads(x), low=float("-inf"), high=float("inf"),
)  # fmt: skip
print(f"value {heads(states[0]).mean():.3f} -> {moved.values.mean():.3f}, travelled {moved.travelled.mean():.3f}")
