"""How well a model forgot and what it kept: metrics, typed results, published logs, the choice of α.

    examples ──scoring──▶ Score ──metrics──▶ MetricResult ──evaluate──▶ Results (results.json)

``Score`` holds what a model did on one row, whatever the model; each metric is a pure function of scores.
"""
