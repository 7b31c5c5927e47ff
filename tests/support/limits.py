"""Limits that several tests hold the API to."""

from __future__ import annotations

LONGEST_ANSWER = 16_384
