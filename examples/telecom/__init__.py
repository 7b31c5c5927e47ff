"""An invented telecom company whose customers leave with probabilities that we know."""
