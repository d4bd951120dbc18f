"""Save South Korean local cards through Stripe, and charge them only as agreed."""

__version__ = "0.1.0"
