"""Prediction of activities in recordings and live streams of a phone."""
