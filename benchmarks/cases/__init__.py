"""Every op timed beside its peers: `pytest benchmarks/`. A case is a test, which the fixture `bench` times."""
