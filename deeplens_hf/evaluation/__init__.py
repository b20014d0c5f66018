"""Benchmarks against truth: how near the rendered picture is to a real lens, and the disparity to the real scene.

`render`, `depth` and `edges` are the three benchmarks, `baselines` what a renderer has to beat, `truth` the loaders,
`metrics` the figures. Stands on the model's side of nothing: a renderer or a predictor comes in as a function.
"""
