"""Experiments, one YAML each: what was asked, the commands, what is measured, what came out. Read by vgf.results."""
