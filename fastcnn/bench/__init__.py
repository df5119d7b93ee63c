"""Benchmarks: our kernels beside PyTorch's, each library in a process of its own, blocked while the other runs.

The rules (``spec`` names the problems, ``race`` times them, ``stats`` judges, ``report`` prints, ``plot`` draws):

- a result is checked before it is timed;
- the libraries take turns, in the order A B B A, and a ratio belongs to one turn: what slows the machine down for a
  while slows both;
- a rival's faster memory format counts;
- the machine's floating-point peak is measured beside every row;
- "faster" is said only if the lower end of the ratio's 95 % interval is above 1.
"""
