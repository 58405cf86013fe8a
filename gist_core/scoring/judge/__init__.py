"""Pairwise judging: which of two answers to the same row is better, by a language model or by a rule.

pair -> request -> (live or batch, store) -> reply -> verdict -> summary; one module each.
"""
