"""Measuring a network: metrics, runtime, memory, proxies, challenge scores."""
