"""What a coverage-guided fuzzer feeds the readers with, and what it found."""
