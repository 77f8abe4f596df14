"""The pure core: contract, frames, resampling, normalisation, prompt, chunk execution.

May import: the standard library, numpy and yaml. (`images.py` asks for Pillow when, and only when,
a compressed image is to be decoded.) May not import: ROS, torch, any other part of the suite.
"""
