"""Weights from and to the Hub, and the card that goes with them."""
