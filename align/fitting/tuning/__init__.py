"""Settings searched by Optuna, traded off against what a gallery vector costs."""
