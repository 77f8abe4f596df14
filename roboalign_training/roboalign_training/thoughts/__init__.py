"""What thoughts say: sub-goals of an instruction, and how far an episode has come with them."""
