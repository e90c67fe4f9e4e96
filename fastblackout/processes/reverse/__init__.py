"""The reverse of a Markov process: sampling, rates and losses."""
