"""Stripe's messages: proved, kept once, applied once."""
