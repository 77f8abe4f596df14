"""The pure core: contract, frames, drive, gate, recording, policy; names and identities of all.

Each subject has a folder; the map is in ``docs/architecture.md``. May import: standard library,
numpy and yaml. (`messages/images.py` asks for Pillow when, and only when, a compressed image is to
be decoded.) May not import: ROS, torch, any other part of the suite.
"""
