"""NNI 3.0 in-process: its tuners, the strategies of ``nni.nas``, and its one-shot training of a supernet.

The only package that imports nni, which is imported when it's asked for. NNI's node server is never started.
"""

import logging

import nni

nni.silence_stdout()  # it logs each proposal, and warns of each question that has no value
logging.getLogger("nni").setLevel(logging.CRITICAL)
