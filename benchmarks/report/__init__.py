"""Tables and pictures of what was measured: `fastblackout bench report`, or `python benchmarks/report`."""
