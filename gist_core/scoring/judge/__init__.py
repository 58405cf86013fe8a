"""Pairwise judging: which of two answers to the same row is better, by a language model or by a rule.

pair -> prompt and order -> request -> (store, client or batch) -> reply -> verdict -> summary; one module each.
"""
