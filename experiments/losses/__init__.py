"""Losses that no command of the library uses: pass one to ``align.train`` as ``loss``.

``loss=lambda batch: contrastive(batch) + 0.1 * mmd(batch.source, batch.target)``, for example.
"""
