"""Benchmarks against truth: how near the rendered picture is to a real lens, and the disparity to the real scene.

`render`, `depth` and `edges` are the three benchmarks, `baselines` what a renderer has to beat, `truth` the loaders,
`metrics` the figures. Renderers and predictors come in as functions: only `commands` loads a model.
"""
