"""Synthetic second-trimester scans on vendor-like screens: what the demo and the tests run on. No dagster."""
