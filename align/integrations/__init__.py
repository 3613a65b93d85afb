"""Adapters inside the frameworks that people already use: one file per framework."""
