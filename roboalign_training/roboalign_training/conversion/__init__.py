"""Recordings to episodes in two passes, by several processes, with bounded memory, resumable.

The first pass (`scanning`) reads numbers and the heads of images, the frames are decided from
these, and the second pass (`pictures`) decodes and encodes the images that a frame shows. Both
work on segments of time and leave part files (`parts`), of which `assembly` makes the file of an
episode.
"""
