"""Preprocessing of sensor signals: resampling, filters and windows, for whole recordings and sample by sample."""
