"""Probes of the modality gap."""
