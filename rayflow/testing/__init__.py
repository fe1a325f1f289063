"""What tests rayflow, and what users may test their own workflows with.

In: an evaluator, or a seed. Out: written conversations, simulated clusters, random programs and what they mean.
Never: Ray, a clock, a thread.
"""
