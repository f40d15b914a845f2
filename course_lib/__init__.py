"""The library behind the book *Training Deep Neural Networks*.

One module per concept. A module imports from the lines above it only, and a test holds it to that:

    names  rng  device  progress            how errors, random numbers, threads and progress are handled
    noise  flat                             numbers drawn inside a step; all weights as one vector
    data                                    data sets, splits, preprocessing, batches
    activations  losses  initialization  normalization  gradients  dropout  models  recurrent  checkpoints
    optimizers  schedules  clipping  regularization      rules and what surrounds their steps
    inputs  resume                          what training checks first, and what a checkpoint of it holds
    training                                one pure step, and the loop around it
    graphs  mapped  stacking                many runs at once with that same step: traced, compiled, mapped
    groups  grids  sweeps                   and trained, as tables
    statistics  bias_variance               intervals and verdicts; the parts of an error over training sets
    designs  cards                          what a claim compares; how it shows itself
    trials                                  from a frame of runs to the scores that a claim compares
    plots  interactive                      the only importer of matplotlib; figures that a reader can change
    claims                                  a sentence, declared before the run, and its verdict
    book  homework  cli  bootstrap          the tools that make the book; graded homework; the command; the set-up

Importing this package imports none of them, so it costs milliseconds.
"""

__version__ = "0.1.0"
