"""Sections of an explanation in words, each a function of the explanation and the language that gives lines. No look-ups here."""
