"""A real Kubernetes on this machine, and the chart on it: ``make test-cluster``."""
