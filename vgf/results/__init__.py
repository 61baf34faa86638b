"""Experiments that a stranger can repeat: ``results/NAME.yaml`` says what to run, what to measure and what came out.

experiment   the YAML as dataclasses                      strict      reads it into them
registry     finds, reads and writes the YAMLs            grid        templates -> commands
runner       runs what is missing, one after another      choose      a pilot's budgets
history      what was started, and how it ended           keep        scores of runs, for good
scores       a run's files -> scores                      measure     scores -> numbers with intervals
record       numbers -> the YAML                          verify      numbers against the YAML
page         the YAMLs -> docs/results.md                 figures     and its pictures
text         how a number is written
"""
