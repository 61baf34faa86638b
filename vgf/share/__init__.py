"""Runs on the Hugging Face Hub: ``vgf push RUN REPO`` and ``vgf pull REPO [DIR]``.

::

    what load() reads   config.yaml  text.json  checkpoints/ (newest, no optimiser state)  reward/  reference/
    what people read    README.md  eval.csv  offline.csv  curve.png  report.html  samples.json

Only safetensors, JSON, YAML, CSV, PNG, Markdown and HTML leave this machine, and nothing else is taken from a
repository. Paths of this machine stay behind.
"""
