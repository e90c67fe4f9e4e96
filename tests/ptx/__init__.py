"""PTX on a CPU: NVIDIA's assembly language of GPU kernels, translated to C++ that runs a thread of a kernel.

parse.py reads the text, instructions.py is the table of what each instruction means, write.py writes the C++ of a
module by it over runtime.h, and build.py compiles that. races.cpp finds races between threads, where it is asked to.
What runs the threads gives `machine.h`, as csrc/simt does.
Nothing here knows where PTX comes from or what it is for.
"""
