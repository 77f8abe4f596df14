"""What SFT and GRPO share: samples, rewards, runs and their options."""
