"""Frozen records: what callers give and get. No record holds a client or fetches anything."""
