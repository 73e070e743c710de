"""How good: free functions on arrays of scores (numpy and scipy only).

A score is a similarity, a match is ``score >= threshold``. FMR and FNMR are over completed comparisons: a pair without
a score never reaches this room. Undefined is an error (`MetricError`), never a default.

===================  ===================================================================================
module               holds
===================  ===================================================================================
`rates`              error rates at every observed threshold: FMR, FNMR, AUC, EER, TAR at an FMR target, curve
`thresholds`         the two rules that fit an accuracy threshold: strict, InsightFace
`folds`              a threshold fitted on other folds, decisions, accuracy over folds
`distributions`      d′ and score histograms
`uncertainty`        Wilson interval, rule of three, subject-cluster bootstrap
`paired`             two models on the same pairs: difference, McNemar, Holm
===================  ===================================================================================
"""
