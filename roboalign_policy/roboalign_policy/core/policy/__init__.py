"""What a policy is asked and answers: prompt, prediction, normalisation."""
