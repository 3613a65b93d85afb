"""Every method here and every peer that can be had, on all data and numbers of pairs."""
