"""How roboalign-tiny is made: scenes, questions, Muon, the run."""
