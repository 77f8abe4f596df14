"""The rules of the safety gate: bounds, inputs, streams, who may drive, when it stops."""
